//! Which kernel module a queue pair belongs to that the connection manager has made.
//!
//! Modules such as `nvme_rdma` connect through `rdma_cm`, and the kernel keeps that name with the queue pair. The connection
//! manager's endpoint has the module's own. It gets the number of its queue pair right after the creation, so it is looked up
//! when the queue pair connects: once for all events that have come together.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rpingmesh::error::describe;
use rpingmesh::id::{DeviceName, Qpn};
use rpingmesh::service::flow::QpKey;
use rpingmesh::service::netlink::CONNECTION_MANAGER;
use rpingmesh_ebpf_event::{EventKind, QpEvent, present};

use super::list::{self, ListError};

/// How many queue pairs are remembered; when more come the memory starts anew.
const REMEMBERED: usize = 32_768;

/// How long the kernel is not asked after it has listed none.
const HIDDEN_FOR: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Default)]
pub(super) struct Modules {
    known: HashMap<QpKey, String>,
    /// When the kernel listed none last.
    hidden: Option<Instant>,
}

impl Modules {
    /// Puts the module's name in the place of the connection manager's.
    pub(super) fn name(&mut self, events: &mut [QpEvent]) {
        self.name_with(events, list::modules);
    }

    fn name_with(
        &mut self,
        events: &mut [QpEvent],
        ask: impl FnOnce() -> Result<HashMap<QpKey, String>, ListError>,
    ) {
        let mut is_unknown = false;
        for event in events.iter_mut() {
            // A life of this number begins or ends: what is known is of the one before.
            if matches!(event.kind(), EventKind::Create | EventKind::Destroy) {
                if !self.known.is_empty()
                    && let Some(key) = key_of(event)
                {
                    self.known.remove(&key);
                }
            } else if is_managed(event) && !self.name_one(event) {
                is_unknown |= event.has(present::REMOTE_QPN);
            }
        }
        let is_hidden = self
            .hidden
            .is_some_and(|since| since.elapsed() < HIDDEN_FOR);
        if !is_unknown || is_hidden {
            return;
        }
        match ask() {
            Ok(modules) => {
                // In another PID namespace the kernel lists none of its own.
                self.hidden = modules.is_empty().then(Instant::now);
                if self.known.len().saturating_add(modules.len()) > REMEMBERED {
                    self.known.clear();
                }
                self.known.extend(modules);
            }
            // The events keep the connection manager's name.
            Err(error) => tracing::debug!(error = describe(&error), "no listing of cm_ids"),
        }
        // Also what does not name the peer: the state that follows may have come with the connection.
        for event in events.iter_mut().filter(|event| is_managed(event)) {
            self.name_one(event);
        }
    }

    /// Whether the module is known.
    fn name_one(&self, event: &mut QpEvent) -> bool {
        let module = key_of(event).and_then(|key| self.known.get(&key));
        let Some(module) = module else { return false };
        event.comm = [0; 16];
        // The last byte is the zero that ends it.
        let end = event.comm.len() - 1;
        for (to, from) in event.comm[..end].iter_mut().zip(module.bytes()) {
            *to = from;
        }
        true
    }
}

fn is_managed(event: &QpEvent) -> bool {
    event.has(present::KERNEL) && text(&event.comm) == CONNECTION_MANAGER.as_bytes()
}

fn key_of(event: &QpEvent) -> Option<QpKey> {
    let device = String::from_utf8_lossy(text(&event.device)).into_owned();
    Some(QpKey {
        device: DeviceName::new(device),
        qpn: Qpn::new(event.local_qpn)?,
    })
}

fn text(padded: &[u8]) -> &[u8] {
    padded.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, qpn: u32, comm: &str) -> QpEvent {
        let mut event = QpEvent::empty(kind);
        event.present = present::KERNEL | present::DEVICE;
        if kind == EventKind::Modify {
            event.present |= present::REMOTE_QPN;
        }
        event.local_qpn = qpn;
        event.comm[..comm.len()].copy_from_slice(comm.as_bytes());
        event.device[..4].copy_from_slice(b"rxe0");
        event
    }

    fn modules(of: &[(u32, &str)]) -> HashMap<QpKey, String> {
        let keys = of.iter().map(|(qpn, module)| {
            let device = DeviceName::new("rxe0");
            let qpn = Qpn::new(*qpn).expect("24 bits");
            (QpKey { device, qpn }, (*module).to_owned())
        });
        keys.collect()
    }

    fn comms(events: &[QpEvent]) -> Vec<String> {
        let comms = events.iter().map(|event| text(&event.comm));
        comms
            .map(|comm| String::from_utf8_lossy(comm).into_owned())
            .collect()
    }

    #[test]
    fn events_of_one_batch_are_named_with_one_question() {
        let mut named = Modules::default();
        let mut sends = event(EventKind::Modify, 17, CONNECTION_MANAGER);
        sends.present &= !present::REMOTE_QPN;
        let mut events = [
            event(EventKind::Create, 17, CONNECTION_MANAGER),
            event(EventKind::Modify, 17, CONNECTION_MANAGER),
            sends,
            event(EventKind::Modify, 18, CONNECTION_MANAGER),
            event(EventKind::Modify, 19, CONNECTION_MANAGER),
            event(EventKind::Modify, 20, "ib_ipoib"),
        ];
        named.name_with(&mut events, || {
            Ok(modules(&[
                (17, "nvme_rdma"),
                (18, "a_name_longer_than_a_comm"),
            ]))
        });
        let expected = [
            "nvme_rdma",
            "nvme_rdma",
            "nvme_rdma",
            "a_name_longer_t",
            CONNECTION_MANAGER,
            "ib_ipoib",
        ];
        assert_eq!(comms(&events), expected);
        let mut later = [event(EventKind::Modify, 17, CONNECTION_MANAGER)];
        named.name_with(&mut later, || panic!("it is known"));
        assert_eq!(comms(&later), ["nvme_rdma"]);
    }

    #[test]
    fn a_number_that_is_used_again_is_looked_up_again() {
        let mut named = Modules::default();
        let connect = || [event(EventKind::Modify, 17, CONNECTION_MANAGER)];
        named.name_with(&mut connect(), || Ok(modules(&[(17, "nvme_rdma")])));
        named.name_with(&mut [event(EventKind::Destroy, 17, "kworker")], || {
            panic!("nothing is to be named")
        });
        let mut again = connect();
        named.name_with(&mut again, || Ok(modules(&[(17, "ib_iser")])));
        assert_eq!(comms(&again), ["ib_iser"]);
    }

    /// Its destruction may not have been seen, and the answer may still have had the number's last user.
    #[test]
    fn a_number_that_is_created_again_is_looked_up_again() {
        let mut named = Modules::default();
        let mut first = [event(EventKind::Modify, 17, CONNECTION_MANAGER)];
        named.name_with(&mut first, || Ok(modules(&[(17, "nvme_rdma")])));
        let mut again = [
            event(EventKind::Create, 17, CONNECTION_MANAGER),
            event(EventKind::Modify, 17, CONNECTION_MANAGER),
        ];
        named.name_with(&mut again, || Ok(modules(&[(17, "ib_iser")])));
        assert_eq!(comms(&again), ["ib_iser", "ib_iser"]);
    }

    #[test]
    fn who_lists_none_is_not_asked_at_once_again() {
        let mut named = Modules::default();
        let mut events = [event(EventKind::Modify, 17, CONNECTION_MANAGER)];
        named.name_with(&mut events, || Ok(HashMap::new()));
        named.name_with(&mut events, || panic!("it is hidden"));
        assert_eq!(comms(&events), [CONNECTION_MANAGER]);
    }

    #[test]
    fn without_an_answer_the_name_stays() {
        let mut events = [event(EventKind::Modify, 17, CONNECTION_MANAGER)];
        Modules::default().name_with(&mut events, || {
            Err(ListError::Socket(std::io::Error::other("none")))
        });
        assert_eq!(comms(&events), [CONNECTION_MANAGER]);
    }
}
