//! What asynchronous device events mean for an endpoint.

use std::io;

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
    /// Judges an event; `gid` reads the GID table.
    pub(super) fn judge(
        &self,
        event: AsyncEvent,
        gid: impl FnOnce(u8, u32) -> io::Result<Gid>,
    ) -> Change {
        let ours = event.port == i32::from(self.port);
        match event.kind {
            abi::IBV_EVENT_PORT_ACTIVE if ours => Change::Event(EndpointEvent::PortActive),
            abi::IBV_EVENT_PORT_ERR if ours => Change::Event(EndpointEvent::PortDown),
            abi::IBV_EVENT_GID_CHANGE if ours => match gid(self.port, self.gid_index) {
                Ok(gid) if gid == self.gid => Change::Nothing,
                // An entry that is gone cannot be read, or is all zero.
                _ => Change::Event(EndpointEvent::AddressChanged),
            },
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

    fn judge(kind: u32, port: i32, table: io::Result<Gid>) -> Change {
        watched().judge(AsyncEvent { kind, port }, |port, index| {
            assert_eq!((port, index), (1, 3));
            table
        })
    }

    #[test]
    fn events_of_the_own_port_are_reported_and_of_others_not() {
        let unread = || Err(io::ErrorKind::Other.into());
        assert_eq!(
            judge(abi::IBV_EVENT_PORT_ERR, 1, unread()),
            Change::Event(EndpointEvent::PortDown)
        );
        assert_eq!(
            judge(abi::IBV_EVENT_PORT_ACTIVE, 1, unread()),
            Change::Event(EndpointEvent::PortActive)
        );
        assert_eq!(judge(abi::IBV_EVENT_PORT_ERR, 2, unread()), Change::Nothing);
        assert_eq!(
            judge(abi::IBV_EVENT_GID_CHANGE, 2, unread()),
            Change::Nothing
        );
    }

    #[test]
    fn a_changed_gid_table_matters_when_the_own_entry_did() {
        let change = |table| judge(abi::IBV_EVENT_GID_CHANGE, 1, table);
        assert_eq!(change(Ok(watched().gid)), Change::Nothing);
        let changed = Change::Event(EndpointEvent::AddressChanged);
        assert_eq!(change(Ok(Gid::from_bytes([0; 16]))), changed);
        assert_eq!(change(Err(io::ErrorKind::NotFound.into())), changed);
    }

    #[test]
    fn fatal_events_end_the_endpoint_and_unknown_ones_are_kept() {
        let unread = || Err(io::ErrorKind::Other.into());
        for kind in [
            abi::IBV_EVENT_DEVICE_FATAL,
            abi::IBV_EVENT_CQ_ERR,
            abi::IBV_EVENT_QP_FATAL,
        ] {
            assert!(matches!(judge(kind, 0, unread()), Change::Lost(_)));
        }
        assert_eq!(
            judge(12345, 0, unread()),
            Change::Event(EndpointEvent::Unknown(12345))
        );
    }
}
