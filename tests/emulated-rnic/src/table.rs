//! The text that describes the RNICs, line by line; what is not understood is left out:
//!
//! | line | means |
//! |---|---|
//! | `dev NAME TRANSPORT OPEN_ERRNO GID_TABLE_ERRNO` | a device; transport 0 is InfiniBand or RoCE, 1 iWARP, −1 unknown; opening it or reading its GID table fails with these, unless 0 |
//! | `port N STATE LINK_LAYER MTU GID_TABLE_LENGTH QUERY_ERRNO` | a port of the device above; 4 is active, 1 down; link layer 2 is Ethernet, 1 InfiniBand, 0 unspecified |
//! | `gid PORT INDEX ADDRESS TYPE IFINDEX` | an entry of a GID table; type 1 is RoCE v1, 2 RoCE v2 |
//! | `clock BITS KHZ` | the device stamps completions: by its wall clock, and by a counter of so many bits and thousand ticks a second |
//! | `refuse cq\|qp wall\|raw\|none ERRNO` | a completion queue with such stamps, or a queue pair on one, cannot be made |
//! | `quiet` | the device sends no events about its ports and GID tables |
//! | `broken AFTER_MS` | each open device reports a fatal error so long after it was opened |

use std::net::IpAddr;

/// A device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// `ibv_transport_type`.
    pub transport: i32,
    /// What opening fails with; 0 for nothing.
    pub open_errno: i32,
    /// What reading the GID table fails with; 0 for nothing.
    pub gid_errno: i32,
    /// Bits and thousand ticks a second of its clock.
    pub clock: Option<(u32, u64)>,
    /// What it refuses.
    pub refusals: Vec<Refusal>,
    /// Whether it keeps changes of ports and GID tables to itself.
    pub quiet: bool,
    /// Milliseconds from opening to a fatal error.
    pub broken: Option<u64>,
    /// Its ports.
    pub ports: Vec<Port>,
    /// Its GID tables.
    pub gids: Vec<Gid>,
}

/// A port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its number.
    pub number: u8,
    /// `ibv_port_state`.
    pub state: u32,
    /// `IBV_LINK_LAYER_…`.
    pub link_layer: u8,
    /// `ibv_mtu`.
    pub mtu: u32,
    /// Length of its GID table.
    pub gids: i32,
    /// What asking for its attributes fails with; 0 for nothing.
    pub errno: i32,
}

/// An entry of a GID table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gid {
    /// The port.
    pub port: u8,
    /// The index.
    pub index: u32,
    /// The GID.
    pub bytes: [u8; 16],
    /// `ibv_gid_type`.
    pub kind: u32,
    /// Number of its network interface.
    pub interface: u32,
}

/// What stamps completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamps {
    /// The device's wall clock.
    Wall,
    /// The device's counter.
    Raw,
    /// Nothing.
    None,
}

/// Something that cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// A queue pair, else a completion queue.
    pub queue_pair: bool,
    /// With these stamps.
    pub stamps: Stamps,
    /// The reason.
    pub errno: i32,
}

/// Reads a table.
pub fn parse(text: &str) -> Vec<Device> {
    let mut devices: Vec<Device> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["dev", name, ref rest @ ..] = words[..] {
            devices.push(Device {
                name: name.to_owned(),
                transport: number(rest, 0),
                open_errno: number(rest, 1),
                gid_errno: number(rest, 2),
                ..Device::default()
            });
        } else if let Some(device) = devices.last_mut() {
            detail(device, &words);
        }
    }
    devices
}

fn detail(device: &mut Device, words: &[&str]) {
    match *words {
        ["port", ref rest @ ..] => device.ports.push(Port {
            number: number(rest, 0),
            state: number(rest, 1),
            link_layer: number(rest, 2),
            mtu: number(rest, 3),
            gids: number(rest, 4),
            errno: number(rest, 5),
        }),
        ["gid", port, index, address, ref rest @ ..] => {
            if let Ok(address) = address.parse::<IpAddr>() {
                device.gids.push(Gid {
                    port: number(&[port], 0),
                    index: number(&[index], 0),
                    bytes: match address {
                        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                        IpAddr::V6(address) => address.octets(),
                    },
                    kind: number(rest, 0),
                    interface: number(rest, 1),
                });
            }
        }
        ["clock", ref rest @ ..] => device.clock = Some((number(rest, 0), number(rest, 1))),
        ["quiet"] => device.quiet = true,
        ["broken", ref rest @ ..] => device.broken = Some(number(rest, 0)),
        ["refuse", what, stamps, ref rest @ ..] => device.refusals.push(Refusal {
            queue_pair: what == "qp",
            stamps: match stamps {
                "wall" => Stamps::Wall,
                "raw" => Stamps::Raw,
                _ => Stamps::None,
            },
            errno: number(rest, 0),
        }),
        _ => {}
    }
}

fn number<T: std::str::FromStr + Default>(words: &[&str], at: usize) -> T {
    words
        .get(at)
        .and_then(|word| word.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read() {
        let devices = parse(
            "# comment\nport 9\ndev mlx5_0 0 0 61\nport 1 4 2 5 256 0\ngid 1 3 10.0.0.5 2 4\nclock 48 156250\n\
             refuse qp wall 95\nbroken 5\ngid 1 x nonsense\ndev siw0 1 0 0\ndev efa_0 -1 13 0\n",
        );
        assert_eq!(devices.len(), 3);
        let first = &devices[0];
        assert_eq!(
            (first.gid_errno, first.clock, first.broken),
            (61, Some((48, 156_250)), Some(5))
        );
        assert_eq!(first.ports[0].state, 4);
        assert_eq!((first.gids.len(), first.gids[0].index), (1, 3));
        assert_eq!(first.gids[0].bytes[10..], [0xff, 0xff, 10, 0, 0, 5]);
        let refusal = Refusal {
            queue_pair: true,
            stamps: Stamps::Wall,
            errno: 95,
        };
        assert_eq!(first.refusals, [refusal]);
        assert_eq!((devices[2].transport, devices[2].open_errno), (-1, 13));
    }
}
