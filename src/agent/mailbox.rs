//! What the service task tells each RNIC's task: paths that came, changed or went.
//!
//! A mailbox holds at most one message per path: a later one replaces an earlier one that has not been taken, and a path
//! that goes before anyone has heard of it leaves nothing. So a mailbox is no larger than what is probed, however long
//! nobody empties it and however fast connections come and go, and nothing is ever lost.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::probe::{PathId, ProbePath};
use crate::transport::RnicName;

/// The path from now on; `None` for one that is probed no longer.
pub type News = (PathId, Option<Arc<ProbePath>>);

/// The mailboxes of all RNICs. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Mailboxes(Arc<Mutex<HashMap<RnicName, Arc<Mailbox>>>>);

impl Mailboxes {
    /// The mailbox of one RNIC.
    pub fn of(&self, rnic: &RnicName) -> Arc<Mailbox> {
        let mut boxes = lock(&self.0);
        if let Some(mailbox) = boxes.get(rnic) {
            return Arc::clone(mailbox);
        }
        let mailbox = Arc::new(Mailbox::default());
        boxes.insert(rnic.clone(), Arc::clone(&mailbox));
        mailbox
    }
}

/// The mailbox of one RNIC.
#[derive(Debug, Default)]
pub struct Mailbox {
    letters: Mutex<Letters>,
    arrival: Notify,
}

#[derive(Debug, Default)]
struct Letters {
    /// In the order of the paths' ages.
    waiting: BTreeMap<PathId, Option<Arc<ProbePath>>>,
    /// The paths that the reader has.
    held: HashSet<PathId>,
}

impl Mailbox {
    /// Leaves news; they are there for the next [`Self::take`].
    pub fn post(&self, news: impl IntoIterator<Item = News>) {
        let mut letters = lock(&self.letters);
        for (id, path) in news {
            if path.is_none() && !letters.held.contains(&id) {
                letters.waiting.remove(&id);
            } else {
                letters.waiting.insert(id, path);
            }
        }
        drop(letters);
        self.arrival.notify_one();
    }

    /// Everything that has come since the last call, older paths first.
    pub fn take(&self) -> Vec<News> {
        let mut letters = lock(&self.letters);
        let news: Vec<News> = std::mem::take(&mut letters.waiting).into_iter().collect();
        for (id, path) in &news {
            match path {
                Some(_) => letters.held.insert(*id),
                None => letters.held.remove(id),
            };
        }
        news
    }

    /// Until something has come since the last time. Dropping the future loses nothing.
    pub async fn arrival(&self) {
        self.arrival.notified().await;
    }
}

/// Nothing is left half done while the lock is held, so a panic elsewhere does no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{FlowLabel, Gid, QKey, Qpn};
    use crate::topology::Peer;
    use crate::transport::Address;

    fn path(number: u32) -> Option<Arc<ProbePath>> {
        let flow_label = FlowLabel::new(number)?;
        let address = Address {
            gid: Gid::from(std::net::Ipv4Addr::LOCALHOST),
            qpn: Qpn::from_lower_bits(1),
            q_key: QKey(1),
        };
        Some(Arc::new(ProbePath {
            target: Arc::new(Peer {
                address,
                tor: "tor0".into(),
                host: "h0".into(),
                device: "r0".into(),
            }),
            flow_label,
            service: None,
            traffic_class: None,
            fidelity: None,
        }))
    }

    #[tokio::test]
    async fn only_the_latest_of_each_path_is_there() {
        let boxes = Mailboxes::default();
        let name = RnicName {
            device: "r0".into(),
            port: 1,
        };
        let mailbox = boxes.of(&name);
        mailbox.post([(PathId(2), path(1)), (PathId(1), path(2))]);
        mailbox.post([(PathId(2), path(3)), (PathId(3), path(4))]);
        mailbox.post([(PathId(3), None)]);
        boxes.of(&name).arrival().await;
        assert_eq!(
            mailbox.take(),
            [(PathId(1), path(2)), (PathId(2), path(3))],
            "the third came and went unseen"
        );
        mailbox.post([(PathId(1), None), (PathId(2), path(5))]);
        assert_eq!(mailbox.take(), [(PathId(1), None), (PathId(2), path(5))]);
        mailbox.post([(PathId(1), None)]);
        assert_eq!(mailbox.take(), []);
    }

    #[test]
    fn what_nobody_takes_stays_bounded() {
        let mailbox = Mailbox::default();
        for number in 0..10_000 {
            mailbox.post([(PathId(number), path(1))]);
            mailbox.post([(PathId(number), None)]);
        }
        assert_eq!(lock(&mailbox.letters).waiting.len(), 0);
        assert_eq!(mailbox.take(), []);
    }
}
