//! Whether the eBPF programs read at the right places, shown on a queue pair of the agent's own.
//!
//! Right after the programs are attached the agent makes a queue pair of type RC, connects it to itself, and destroys it, in a
//! thread of its own name. What the programs tell of that thread is compared with what the agent knows of its queue pair. The
//! thread's name, the kind of a call, its mask of attributes and its return code come from the kernel's helpers and from
//! arguments, never from offsets: so the agent's own events are found whatever the offsets are.
//!
//! ```text
//!               an event of the own thread: kept
//!                  ┌──────┐
//!   attached ──► waiting ─┴─ made, all four calls seen ──► every field as known ──► proved
//!                  │  │                                └─► one is another       ──► contradicted
//!                  │  ├─ made, and a call was not seen ──► events were lost     ──► not provable
//!                  │  │                                └─► none was lost        ──► contradicted
//!                  │  └─ connecting was refused: creation and destruction are compared ──► not provable, or contradicted
//!                  └─ no device, no permission, too late ──► not provable
//! ```

use std::fmt;

use rpingmesh_ebpf_event::{EventKind, QpEvent, present};

use super::unseen::Unseen;
use crate::id::Gid;

/// How the names of threads begin that make a queue pair for a proof: their queue pairs belong to no service.
pub const THREAD_PREFIX: &str = "rpm-proof-";

/// Events of one proof that are kept: there are four, and more only by chance.
const MOST: usize = 16;

// enum ib_qp_type, ib_qp_state and ib_qp_attr_mask of Linux include/rdma/ib_verbs.h
const RC: u8 = 2;
const INIT: u8 = 1;
const RTR: u8 = 2;
const MASK_PORT: u32 = 1 << 5;
const MASK_AV: u32 = 1 << 7;

/// A queue pair that was made for a proof: everything that the programs should have read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Specimen {
    /// Its device.
    pub device: String,
    /// Its number, 24 bits.
    pub qpn: u32,
    /// Its port, from 1.
    pub port: u8,
    /// The GID of both its ends: it is connected to itself.
    pub gid: Gid,
    /// Index of that GID.
    pub gid_index: u8,
    /// The flow label of its connection, 20 bits.
    pub flow_label: u32,
    /// The traffic class of its connection.
    pub traffic_class: u8,
    /// Why it could not be connected, if so.
    pub refused: Option<String>,
}

/// What a proof has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The programs read what is so.
    Proved,
    /// Nothing was shown, and why.
    NotProvable(String),
    /// The programs read something else than what is so, or did not see the queue pair at all.
    Contradicted(Contradiction),
}

/// What the programs told of the agent's own queue pair, and what is so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {known}, and the programs read {seen}")]
pub struct Contradiction {
    /// What was read.
    pub what: &'static str,
    /// What the agent knows.
    pub known: String,
    /// What the programs told.
    pub seen: String,
}

/// A proof under way.
#[derive(Debug)]
pub struct Proof {
    thread: String,
    unseen: Vec<Unseen>,
    seen: Vec<QpEvent>,
}

impl Proof {
    /// Waits for events of the thread with this name, but for those that are not seen on this kernel.
    pub fn new(thread: &str, unseen: &[Unseen]) -> Self {
        Self {
            thread: thread.to_owned(),
            unseen: unseen.to_vec(),
            seen: Vec::new(),
        }
    }

    /// Takes an event of the own thread; others are none of its business.
    pub fn take(&mut self, event: &QpEvent) {
        if text(&event.comm) == self.thread && self.seen.len() < MOST {
            self.seen.push(*event);
        }
    }

    /// Whether the last call was seen.
    pub fn is_complete(&self) -> bool {
        let (kind, mask) = if self.sees(Unseen::Destructions) {
            (EventKind::Destroy, 0)
        } else {
            (EventKind::Modify, MASK_AV)
        };
        self.of(kind, mask).is_some()
    }

    fn sees(&self, what: Unseen) -> bool {
        !self.unseen.contains(&what)
    }

    /// Compares. `made` is the queue pair, or why there is none; `lost` is whether events were lost meanwhile.
    pub fn judge(&self, made: Result<Specimen, String>, lost: bool) -> Verdict {
        let specimen = match made {
            Ok(specimen) => specimen,
            Err(why) => return Verdict::NotProvable(why),
        };
        if lost {
            return Verdict::NotProvable("events were lost meanwhile".to_owned());
        }
        match (self.compare(&specimen), specimen.refused) {
            (Err(contradiction), _) => Verdict::Contradicted(contradiction),
            (Ok(()), Some(why)) => {
                Verdict::NotProvable(format!("it could not be connected: {why}"))
            }
            (Ok(()), None) => Verdict::Proved,
        }
    }

    fn of(&self, kind: EventKind, mask: u32) -> Option<&QpEvent> {
        self.seen
            .iter()
            .find(|event| event.kind() == kind && event.attr_mask & mask == mask)
    }

    fn compare(&self, specimen: &Specimen) -> Result<(), Contradiction> {
        let call = |kind, mask, what| self.of(kind, mask).ok_or_else(|| unseen(what));
        if self.sees(Unseen::Creations) {
            let created = call(EventKind::Create, 0, "the creation of the own queue pair")?;
            identity(created, specimen)?;
        }
        let first = call(EventKind::Modify, MASK_PORT, "its first modification")?;
        identity(first, specimen)?;
        same("its state", INIT, first.qp_state)?;
        same("its port", specimen.port, first.port)?;
        if let Some(connected) = self.of(EventKind::Modify, MASK_AV) {
            connection(connected, specimen)?;
        } else if specimen.refused.is_none() {
            return Err(unseen("its connection"));
        }
        if self.sees(Unseen::Destructions) {
            identity(call(EventKind::Destroy, 0, "its destruction")?, specimen)?;
        }
        Ok(())
    }
}

/// Whether a queue pair of this thread was made for a proof, of this agent or of another. Only the beginning of one is left out:
/// its end tells those who have listed it.
pub fn is_specimen(event: &QpEvent) -> bool {
    let begins = match event.kind() {
        EventKind::Create | EventKind::Modify => true,
        EventKind::Destroy | EventKind::Query | EventKind::Unknown(_) => false,
    };
    begins && event.comm.starts_with(THREAD_PREFIX.as_bytes())
}

/// What each event tells of the queue pair itself.
fn identity(event: &QpEvent, specimen: &Specimen) -> Result<(), Contradiction> {
    same("its number", specimen.qpn, event.local_qpn)?;
    same("its type", RC, event.qp_type)?;
    let device = if event.has(present::DEVICE) {
        text(&event.device)
    } else {
        String::new()
    };
    same("its device", specimen.device.as_str(), device.as_str())
}

/// What the event of a connection tells.
fn connection(event: &QpEvent, specimen: &Specimen) -> Result<(), Contradiction> {
    identity(event, specimen)?;
    same("its state", RTR, event.qp_state)?;
    same("its port", specimen.port, event.port)?;
    same("its peer's number", specimen.qpn, event.remote_qpn)?;
    same("its flow label", specimen.flow_label, event.flow_label)?;
    same("the index of its GID", specimen.gid_index, event.sgid_index)?;
    same(
        "its traffic class",
        specimen.traffic_class,
        event.traffic_class,
    )?;
    let gid = |bytes| Gid::from_bytes(bytes);
    same(
        "its destination GID",
        specimen.gid,
        gid(event.destination_gid),
    )?;
    if event.return_code == 0 {
        same("its source GID", specimen.gid, gid(event.source_gid))?;
    }
    Ok(())
}

fn same<T: Copy + PartialEq + fmt::Display>(
    what: &'static str,
    known: T,
    seen: T,
) -> Result<(), Contradiction> {
    if known == seen {
        return Ok(());
    }
    Err(Contradiction {
        what,
        known: known.to_string(),
        seen: seen.to_string(),
    })
}

/// A name as the kernel pads it with zeros; what is no text shows as such.
fn text(bytes: &[u8]) -> String {
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    name.escape_ascii().to_string()
}

fn unseen(what: &'static str) -> Contradiction {
    Contradiction {
        what,
        known: "done".to_owned(),
        seen: "nothing of it".to_owned(),
    }
}

#[cfg(test)]
mod tests;
