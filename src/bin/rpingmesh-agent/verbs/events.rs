//! What asynchronous device events mean for an endpoint.

use rdma_core_sys::abi;
use rpingmesh::id::Gid;
use rpingmesh::transport::EndpointEvent;

use super::handles::AsyncEvent;

/// What an endpoint depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watched {
    /// Its port.
    pub(super) port: u8,
    /// Its GID.
    pub(super) gid: Gid,
    /// The index at which its packets get that GID.
    pub(super) gid_index: u32,
}

/// The meaning of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// It concerns another port, or nothing that matters.
    Nothing,
    /// To be reported.
    Event(EndpointEvent),
    /// The endpoint is gone.
    Lost(String),
}

impl Watched {
    /// Judges an event; `best` reads the port's GID table and chooses, and gives nothing where there is nothing to choose.
    pub(super) fn judge(&self, event: AsyncEvent, best: impl Fn() -> Option<(Gid, u32)>) -> Change {
        // An entry that came may be better than the own one, which may be gone, or another GID, or of another type.
        let moves = || best() != Some((self.gid, self.gid_index));
        let ours = event.port == i32::from(self.port);
        match event.kind {
            abi::IBV_EVENT_PORT_ERR if ours => Change::Event(EndpointEvent::PortDown),
            abi::IBV_EVENT_PORT_ACTIVE | abi::IBV_EVENT_GID_CHANGE if ours && moves() => {
                Change::Event(EndpointEvent::AddressChanged)
            }
            abi::IBV_EVENT_PORT_ACTIVE if ours => Change::Event(EndpointEvent::PortActive),
            abi::IBV_EVENT_PORT_ACTIVE | abi::IBV_EVENT_PORT_ERR | abi::IBV_EVENT_GID_CHANGE => {
                Change::Nothing
            }
            abi::IBV_EVENT_DEVICE_FATAL => {
                Change::Lost("the device reported a fatal error or was removed".to_owned())
            }
            abi::IBV_EVENT_CQ_ERR => Change::Lost("its completion queue overran".to_owned()),
            // The queue pair's requests complete with errors, which restarts it.
            abi::IBV_EVENT_QP_REQ_ERR | abi::IBV_EVENT_QP_ACCESS_ERR => Change::Nothing,
            abi::IBV_EVENT_QP_FATAL => {
                Change::Lost("the device reported a fatal error of a queue pair".to_owned())
            }
            other => Change::Event(EndpointEvent::Unknown(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched() -> Watched {
        Watched {
            port: 1,
            gid: "10.0.0.1".parse().expect("a GID"),
            gid_index: 3,
        }
    }

    fn judge(kind: u32, port: i32, best: Option<(Gid, u32)>) -> Change {
        watched().judge(AsyncEvent { kind, port }, || best)
    }

    fn own() -> (Gid, u32) {
        (watched().gid, watched().gid_index)
    }

    #[test]
    fn events_of_the_own_port_are_reported_and_of_others_not() {
        assert_eq!(
            judge(abi::IBV_EVENT_PORT_ERR, 1, None),
            Change::Event(EndpointEvent::PortDown)
        );
        assert_eq!(
            judge(abi::IBV_EVENT_PORT_ACTIVE, 1, Some(own())),
            Change::Event(EndpointEvent::PortActive)
        );
        for kind in [
            abi::IBV_EVENT_PORT_ERR,
            abi::IBV_EVENT_PORT_ACTIVE,
            abi::IBV_EVENT_GID_CHANGE,
        ] {
            assert_eq!(judge(kind, 2, None), Change::Nothing);
        }
    }

    #[test]
    fn an_event_after_which_another_entry_is_best_moves_the_endpoint() {
        let changed = Change::Event(EndpointEvent::AddressChanged);
        for kind in [abi::IBV_EVENT_GID_CHANGE, abi::IBV_EVENT_PORT_ACTIVE] {
            // Nothing is left; the own GID at another index; a better GID.
            assert_eq!(judge(kind, 1, None), changed);
            assert_eq!(judge(kind, 1, Some((watched().gid, 5))), changed);
            let other = "10.0.0.2".parse().expect("a GID");
            assert_eq!(judge(kind, 1, Some((other, 3))), changed);
        }
        assert_eq!(
            judge(abi::IBV_EVENT_GID_CHANGE, 1, Some(own())),
            Change::Nothing
        );
    }

    #[test]
    fn fatal_events_end_the_endpoint_and_unknown_ones_are_kept() {
        for kind in [
            abi::IBV_EVENT_DEVICE_FATAL,
            abi::IBV_EVENT_CQ_ERR,
            abi::IBV_EVENT_QP_FATAL,
        ] {
            assert!(matches!(judge(kind, 0, None), Change::Lost(_)));
        }
        assert_eq!(
            judge(12345, 0, None),
            Change::Event(EndpointEvent::Unknown(12345))
        );
    }
}
