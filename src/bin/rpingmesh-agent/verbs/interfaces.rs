//! Which network interfaces exist in this network namespace, as far as GID tables name them.

use rpingmesh::transport::rdma_report::Place;
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

/// Looks interfaces up by their numbers.
pub(super) struct Interfaces {
    /// The kernel wants a socket of the namespace that is asked.
    socket: Option<OwnedFd>,
    /// Whether the device whose table it is stands in this system's sysfs.
    certain: bool,
}

impl Interfaces {
    /// `certain` where a number that does not exist proves that the interface is elsewhere.
    pub(super) fn new(certain: bool) -> Self {
        Self {
            socket: socket_with(
                AddressFamily::INET,
                SocketType::DGRAM,
                SocketFlags::CLOEXEC,
                None,
            )
            .ok(),
            certain,
        }
    }

    /// The name of interface `number` here.
    pub(super) fn name(&self, number: u32) -> Option<String> {
        netdevice::index_to_name(self.socket.as_ref()?, number).ok()
    }

    /// Where an entry's interface is. `name` is what sysfs calls it, which shows the interfaces of all namespaces: numbers
    /// are given out per namespace, so the same number with another name is another interface.
    pub(super) fn place(&self, number: u32, name: Option<&str>) -> Place {
        if number == 0 || self.socket.is_none() {
            return Place::Unknown;
        }
        judge(number, name, self.name(number).as_deref(), self.certain)
    }
}

fn judge(number: u32, name: Option<&str>, here: Option<&str>, certain: bool) -> Place {
    match (here, name) {
        (Some(here), Some(name)) if here != name => Place::Elsewhere(number),
        (Some(_), _) => Place::Here,
        (None, _) if certain => Place::Elsewhere(number),
        (None, _) => Place::Doubtful(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_here_by_number_and_name() {
        assert_eq!(judge(4, Some("eth0"), Some("eth0"), true), Place::Here);
        assert_eq!(judge(4, None, Some("eth0"), true), Place::Here);
        assert_eq!(
            judge(4, Some("net1"), Some("eth0"), true),
            Place::Elsewhere(4)
        );
        assert_eq!(judge(4, Some("net1"), None, true), Place::Elsewhere(4));
        assert_eq!(judge(4, None, None, true), Place::Elsewhere(4));
        assert_eq!(judge(4, None, None, false), Place::Doubtful(4));
    }

    #[test]
    fn the_kernel_is_asked() {
        let interfaces = Interfaces::new(true);
        assert_eq!(interfaces.place(0, None), Place::Unknown);
        assert_eq!(
            interfaces.place(u32::MAX >> 1, None),
            Place::Elsewhere(u32::MAX >> 1)
        );
    }
}
