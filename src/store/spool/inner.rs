//! The spool itself, on one thread: identities, batches, and whether the disk takes them.

use std::io;
use std::time::Instant;

use super::codec::{Encoded, LONGEST_PAYLOAD};
use super::disk::{Disk, Loaded, OpenError};
use super::epoch::{Entry, Epoch, Place};
use super::kept::Kept;
use super::types::{AWAY, Appended, MEMORY, Renumber, Status, Stored};
use crate::store::{Location, StoreError};

#[derive(Debug)]
pub(super) struct Inner {
    location: Location,
    /// `None`: in memory for good, or the disk cannot be used yet.
    disk: Option<Disk>,
    limit: u64,
    /// The oldest identity first; batches are appended to the last one.
    epochs: Vec<Epoch>,
    /// The identity that is being uploaded.
    pub(super) uploading: u64,
    status: Status,
    /// Acknowledged batches that may be wanted again.
    pub(super) kept: Kept,
}

/// What is told without waiting.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) uploading: u64,
    pub(super) status: Status,
}

impl Inner {
    pub(super) fn seen(&self) -> Seen {
        Seen {
            uploading: self.uploading,
            status: self.status.clone(),
        }
    }

    pub(super) fn open(location: Location, limit: u64) -> Result<Self, StoreError> {
        let mut inner = Self {
            location,
            disk: None,
            limit,
            epochs: Vec::new(),
            uploading: 0,
            status: Status::default(),
            kept: Kept::default(),
        };
        match inner.load() {
            Ok(()) => {}
            Err(OpenError::Busy(error)) => return Err(error),
            Err(OpenError::Unusable(why)) => inner.report(why),
        }
        // Whatever has become of the files, no number is given a second time: each run has an identity of its own.
        inner.epochs.push(Epoch::new(rand::random()));
        inner.uploading = inner.due();
        Ok(inner)
    }

    /// Opens the folder and takes in what is there, before what is in memory.
    pub(super) fn load(&mut self) -> Result<(), OpenError> {
        let Location::File(folder) = &self.location else {
            return Ok(());
        };
        let Loaded {
            disk,
            epochs,
            damaged,
            set_aside,
        } = Disk::open(folder, self.limit)?;
        self.disk = Some(disk);
        self.epochs.splice(0..0, epochs);
        self.status.damaged += damaged;
        self.status.set_aside += set_aside;
        Ok(())
    }

    pub(super) fn report(&mut self, why: String) {
        if self.status.trouble.is_none() {
            tracing::error!(
                spool = self.location.name(),
                why,
                "results cannot be stored on disk: they are kept in memory until it works again"
            );
        }
        self.status.trouble = Some(why);
    }

    pub(super) fn waiting(&self) -> u64 {
        self.epochs
            .iter()
            .map(|epoch| epoch.entries.len() as u64)
            .sum()
    }

    /// The oldest identity of which batches wait, else the newest.
    pub(super) fn due(&self) -> u64 {
        let waiting = |epoch: &&Epoch| !epoch.entries.is_empty();
        let due = self.epochs.iter().find(waiting).or(self.epochs.last());
        due.map_or(0, |epoch| epoch.id)
    }

    pub(super) fn append(&mut self, encode: impl FnOnce(u64) -> Vec<u8>) -> Appended {
        let sequence = self.number();
        let encoded = Encoded::new(encode(sequence));
        if let Some(epoch) = self.epochs.last_mut() {
            epoch.push(encoded);
        }
        self.store();
        let dropped = self.drop_beyond();
        Appended {
            sequence,
            dropped,
            waiting: self.waiting(),
        }
    }

    /// The next number.
    pub(super) fn number(&mut self) -> u64 {
        if self
            .epochs
            .last()
            .is_none_or(|epoch| epoch.newest == u64::MAX)
        {
            self.epochs.push(Epoch::new(rand::random()));
        }
        let Some(epoch) = self.epochs.last_mut() else {
            return 0;
        };
        epoch.newest += 1;
        epoch.newest
    }

    /// Brings what is in memory to the disk, if there is one.
    pub(super) fn store(&mut self) {
        if self.location == Location::Memory {
            return;
        }
        if let Err(why) = self.try_store() {
            self.report(why);
        } else if self.status.trouble.take().is_some() {
            tracing::info!(
                spool = self.location.name(),
                "results are stored on disk again"
            );
        }
    }

    pub(super) fn try_store(&mut self) -> Result<(), String> {
        if self.disk.is_none() {
            self.load().map_err(|error| error.to_string())?;
        }
        let Some(disk) = &mut self.disk else {
            return Ok(());
        };
        for epoch in &mut self.epochs {
            for at in 0..epoch.entries.len() {
                let Place::Memory(encoded) = &epoch.entries[at].place else {
                    continue;
                };
                let sequence = epoch.entries[at].sequence;
                let place = disk
                    .append(epoch.id, sequence, encoded)
                    .map_err(|error| error.to_string())?;
                epoch.entries[at].place = place;
            }
        }
        if self
            .epochs
            .iter()
            .map(|epoch| epoch.entries.len())
            .sum::<usize>()
            >= AWAY
        {
            disk.force().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Drops the oldest batches beyond the limit, and of those in memory beyond theirs; never the newest one.
    pub(super) fn drop_beyond(&mut self) -> u64 {
        let in_memory = |entry: &Entry| matches!(entry.place, Place::Memory(_));
        let bytes = |epochs: &[Epoch], which: &dyn Fn(&Entry) -> bool| -> u64 {
            let entries = epochs.iter().flat_map(|epoch| &epoch.entries);
            entries
                .filter(|entry| which(entry))
                .map(|entry| entry.size)
                .sum()
        };
        let mut excess = bytes(&self.epochs, &|_| true).saturating_sub(self.limit);
        let mut dropped = self.drop_oldest(&mut excess, |_| true);
        let memory = self.limit.min(MEMORY);
        if self.location != Location::Memory {
            let mut excess = bytes(&self.epochs, &in_memory).saturating_sub(memory);
            dropped += self.drop_oldest(&mut excess, in_memory);
        }
        dropped
    }

    pub(super) fn drop_oldest(&mut self, excess: &mut u64, which: impl Fn(&Entry) -> bool) -> u64 {
        let mut dropped = 0;
        while *excess > 0 && self.waiting() > 1 {
            let oldest = self
                .epochs
                .iter_mut()
                .enumerate()
                .find_map(|(number, epoch)| {
                    let at = epoch.entries.iter().position(&which)?;
                    Some((number, at))
                });
            let Some((number, at)) = oldest else { break };
            let Some(entry) = self.epochs[number].entries.remove(at) else {
                break;
            };
            *excess = excess.saturating_sub(entry.size);
            dropped += 1;
            self.release(&entry);
        }
        self.tidy();
        dropped
    }

    pub(super) fn release(&mut self, entry: &Entry) {
        if let (Place::Disk(place), Some(disk)) = (&entry.place, &mut self.disk) {
            disk.release(place.segment);
        }
    }

    /// Forgets identities that are done with.
    pub(super) fn tidy(&mut self) {
        let newest = self.epochs.last().map(|epoch| epoch.id);
        let uploading = self.uploading;
        self.epochs.retain(|epoch| {
            !epoch.entries.is_empty() || Some(epoch.id) == newest || epoch.id == uploading
        });
    }

    /// The newest identity and its next number.
    pub(super) fn newest(&self) -> (u64, u64) {
        let newest = self.epochs.last();
        newest.map_or((0, 1), |epoch| (epoch.id, epoch.newest.saturating_add(1)))
    }

    pub(super) fn epoch(&mut self) -> Option<&mut Epoch> {
        let uploading = self.uploading;
        self.epochs.iter_mut().find(|epoch| epoch.id == uploading)
    }

    pub(super) fn payload(&self, entry: &Entry) -> io::Result<Vec<u8>> {
        let encoded = match (&entry.place, &self.disk) {
            (Place::Memory(encoded), _) => encoded.clone(),
            (Place::Disk(place), Some(disk)) => disk.read(place, entry.sequence)?,
            (Place::Disk(_), None) => return Err(io::ErrorKind::NotFound.into()),
        };
        encoded.decode(LONGEST_PAYLOAD)
    }

    pub(super) fn read(&mut self, after: u64, bytes: usize) -> Vec<Stored> {
        let (mut batches, mut damaged, mut total) = (Vec::new(), Vec::new(), 0);
        let uploading = |epoch: &&Epoch| epoch.id == self.uploading;
        let entries = self
            .epochs
            .iter()
            .find(uploading)
            .map(|epoch| &epoch.entries);
        for entry in entries.into_iter().flatten() {
            if entry.sequence <= after {
                continue;
            }
            match self.payload(entry) {
                Ok(payload) => {
                    total += payload.len();
                    if total > bytes && !batches.is_empty() {
                        break;
                    }
                    batches.push(Stored {
                        sequence: entry.sequence,
                        payload,
                    });
                }
                Err(error) => damaged.push((entry.sequence, error)),
            }
        }
        if let (Some(last), Some(epoch)) = (batches.last(), self.epoch()) {
            epoch.reached = epoch.reached.max(last.sequence);
        }
        for (sequence, error) in damaged {
            let spool = self.location.name();
            tracing::error!(spool, sequence, %error, "a batch in the spool is damaged and passed over");
            self.pass_over(sequence);
        }
        batches
    }

    pub(super) fn pass_over(&mut self, sequence: u64) {
        self.status.damaged += 1;
        let Some(epoch) = self.epoch() else { return };
        let at = epoch
            .entries
            .iter()
            .position(|entry| entry.sequence == sequence);
        let Some(entry) = at.and_then(|at| epoch.entries.remove(at)) else {
            return;
        };
        if let (Place::Disk(place), Some(disk)) = (&entry.place, &mut self.disk) {
            disk.mark_damaged(place.segment);
        }
        self.release(&entry);
    }

    pub(super) fn acknowledge(&mut self, sequence: u64) {
        let id = self.uploading;
        let Some(epoch) = self.epoch() else { return };
        let mut gone = Vec::new();
        while let Some(entry) = epoch
            .entries
            .pop_front_if(|entry| entry.sequence <= sequence)
        {
            gone.push(entry);
        }
        if gone.is_empty() {
            return;
        }
        let newest = self.newest();
        if let Some(disk) = &mut self.disk {
            // Without the note the batches are sent again after a restart, and the receiver knows them.
            let _ = disk.note_acknowledged((id, sequence), newest);
        }
        for entry in gone {
            self.keep(id, &entry);
            self.release(&entry);
        }
        self.tidy();
    }

    /// Keeps an acknowledged batch where that is wanted.
    fn keep(&mut self, id: u64, entry: &Entry) {
        if !self.kept.is_wanted() {
            return;
        }
        let encoded = match (&entry.place, &self.disk) {
            (Place::Memory(encoded), _) => Some(encoded.clone()),
            // Without it a new analyzer lacks a batch that the one before had.
            (Place::Disk(place), Some(disk)) => disk.read(place, entry.sequence).ok(),
            (Place::Disk(_), None) => None,
        };
        if let Some(encoded) = encoded {
            let limit = self.limit.min(MEMORY);
            self.kept
                .take((id, entry.sequence), encoded, limit, Instant::now());
        }
    }

    /// The newest acknowledged batch below a number of the identity that is being uploaded, where one is kept.
    pub(super) fn kept_below(&mut self, before: u64) -> Option<Stored> {
        let id = self.uploading;
        let (sequence, encoded) = self.kept.newest_below((id, before), Instant::now())?;
        let payload = encoded.decode(LONGEST_PAYLOAD).ok()?;
        Some(Stored { sequence, payload })
    }

    pub(super) fn begun(&mut self, mark: u64, renumber: Renumber) -> bool {
        let location = self.location.name();
        let Some(epoch) = self.epoch() else {
            return true;
        };
        if mark <= epoch.reached {
            self.acknowledge(mark);
            return true;
        }
        let (newest, reached) = (epoch.newest, epoch.reached);
        self.acknowledge(reached);
        let moved = self.renew(reached, renumber);
        self.status.rolled_back += 1;
        tracing::warn!(
            spool = location,
            "the analyzer has batch {mark} of this spool, which has sent {reached} and ends at {newest}: the spool is an older \
             copy; it goes on under a new identity ({moved} batches that were not sent get new numbers)"
        );
        false
    }

    /// Moves the batches behind `after` to a new identity; gives how many.
    pub(super) fn renew(&mut self, after: u64, renumber: Renumber) -> u64 {
        let old = self.uploading;
        let Some(epoch) = self.epoch() else { return 0 };
        let kept = epoch
            .entries
            .partition_point(|entry| entry.sequence <= after);
        let moving = epoch.entries.split_off(kept);
        let mut fresh = Epoch::new(rand::random());
        for entry in &moving {
            let Ok(payload) = self.payload(entry) else {
                self.status.damaged += 1;
                continue;
            };
            fresh.newest += 1;
            fresh.push(Encoded::new(renumber(fresh.newest, payload)));
        }
        let moved = fresh.entries.len() as u64;
        self.epochs.push(fresh);
        self.store();
        let newest = self.newest();
        if let Some(disk) = &mut self.disk {
            // The old numbers must not come back with the next start: a note that fails leaves them to the receiver's mark.
            let _ = disk.note_acknowledged((old, u64::MAX), newest);
        }
        for entry in &moving {
            self.release(entry);
        }
        self.uploading = self.due();
        self.tidy();
        moved
    }
}
