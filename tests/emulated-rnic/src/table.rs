//! The text that describes the RNICs, line by line; what is not understood is left out:
//!
//! | line | means |
//! |---|---|
//! | `dev NAME TRANSPORT OPEN_ERRNO GID_TABLE_ERRNO` | a device; transport 0 is InfiniBand or RoCE, 1 iWARP, −1 unknown; opening it or reading its GID table fails with these, unless 0 |
//! | `like DRIVER` | the lines that the driver's sources tell: see [`profiles`] |
//! | `transport NUMBER` | another transport than in the line `dev` |
//! | `clockless` | nothing stamps completions |
//! | `port N STATE LINK_LAYER MTU GID_TABLE_LENGTH QUERY_ERRNO` | a port of the device above; 4 is active, 1 down; link layer 2 is Ethernet, 1 InfiniBand, 0 unspecified |
//! | `gid PORT INDEX ADDRESS TYPE IFINDEX` | an entry of a GID table; type 1 is RoCE v1, 2 RoCE v2 |
//! | `clock BITS KHZ` | the device stamps completions: by its wall clock, and by a counter of so many bits and thousand ticks a second |
//! | `drift PPM` | its clock runs so many millionths too fast; negative: too slow |
//! | `step NS` | its clock is set ahead by so much; where the number changes, the clock steps |
//! | `path NS` | what arrives here was under way for exactly so long, by stamps that the scheduler of the host cannot falsify |
//! | `steer label\|pair\|driver` | what decides the UDP source port of what it sends: the flow label, the queue pair, or nothing that is told |
//! | `fabric UDP_PORT` | what it sends goes to this port of the loopback interface, whose owner takes it on or loses it; not to its receiver itself |
//! | `refuse cq\|qp wall\|raw\|none ERRNO` | a completion queue with such stamps, or a queue pair on one, cannot be made |
//! | `fail CALL ERRNO` | a call of libibverbs fails, such as `ibv_modify_qp` |
//! | `error send\|receive NTH STATUS` | each NTH request of a queue pair completes with this status and leaves the queue pair in error |
//! | `entries COUNT` | a completion queue overruns with more completions than this, however many were asked for |
//! | `event NUMBER TYPE PORT` | devices that are open when a line with a new number appears get this event (`ibv_event_type`) |
//! | `chaos SEED PERMILLE` | of a thousand answers so many are anything: errors, completions, attributes, events |
//! | `quiet` | the device sends no events about its ports and GID tables |
//! | `broken AFTER_MS` | each open device reports a fatal error so long after it was opened |

use std::net::IpAddr;

use crate::profiles;

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
    /// What stamps its completions.
    pub clock: Option<Clock>,
    /// Parts per million by which its clock is too fast.
    pub drift: i64,
    /// Nanoseconds by which its clock is ahead.
    pub step: i64,
    /// How long what arrives was under way, in nanoseconds; as long as it took on loopback if that is not said.
    pub path: Option<u64>,
    /// UDP port of who carries what it sends; its receivers themselves take it if that is not said.
    pub fabric: Option<u16>,
    /// What decides its UDP source ports.
    pub steering: Steering,
    /// Calls that fail, and with what.
    pub failures: Vec<(String, i32)>,
    /// Which send ends in error, and with which status.
    pub send_error: Option<(u64, u32)>,
    /// Which receive ends in error, and with which status.
    pub receive_error: Option<(u64, u32)>,
    /// What a completion queue holds at most.
    pub entries: Option<usize>,
    /// Events: number, type, port.
    pub events: Vec<(u64, u32, i32)>,
    /// Seed and rate per thousand of answers that are anything.
    pub chaos: Option<(u64, u32)>,
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

/// A counter that stamps completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Its bits.
    pub bits: u32,
    /// Thousand ticks a second.
    pub khz: u64,
}

/// What decides the UDP source port of a device's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Steering {
    /// The flow label, folded.
    Label,
    /// The queue pair.
    Pair,
    /// The driver, which does not tell.
    #[default]
    Driver,
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
        ["port", ref rest @ ..] => {
            let port = Port {
                number: number(rest, 0),
                state: number(rest, 1),
                link_layer: number(rest, 2),
                mtu: number(rest, 3),
                gids: number(rest, 4),
                errno: number(rest, 5),
            };
            // The last line about a port counts.
            device.ports.retain(|known| known.number != port.number);
            device.ports.push(port);
        }
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
        ["clock", ref rest @ ..] => {
            device.clock = Some(Clock {
                bits: number(rest, 0),
                khz: number(rest, 1),
            });
        }
        ["like", driver] => {
            for line in profiles::lines(driver) {
                detail(device, &line.split_whitespace().collect::<Vec<_>>());
            }
        }
        ["transport", ref rest @ ..] => device.transport = number(rest, 0),
        ["clockless"] => device.clock = None,
        ["drift", ref rest @ ..] => device.drift = number(rest, 0),
        ["step", ref rest @ ..] => device.step = number(rest, 0),
        ["path", ref rest @ ..] => device.path = Some(number(rest, 0)),
        ["fabric", ref rest @ ..] => device.fabric = Some(number(rest, 0)),
        ["steer", what] => {
            device.steering = match what {
                "label" => Steering::Label,
                "pair" => Steering::Pair,
                _ => Steering::Driver,
            };
        }
        ["fail", call, ref rest @ ..] => device.failures.push((call.to_owned(), number(rest, 0))),
        ["error", what, ref rest @ ..] => {
            let error = Some((number::<u64>(rest, 0).max(1), number(rest, 1)));
            match what {
                "send" => device.send_error = error,
                _ => device.receive_error = error,
            }
        }
        ["entries", ref rest @ ..] => device.entries = Some(number(rest, 0)),
        ["event", ref rest @ ..] => {
            let event = (number(rest, 0), number(rest, 1), number(rest, 2));
            device.events.push(event);
        }
        ["chaos", ref rest @ ..] => device.chaos = Some((number(rest, 0), number(rest, 1))),
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
        let clock = Clock {
            bits: 48,
            khz: 156_250,
        };
        assert_eq!(
            (first.gid_errno, first.clock, first.broken),
            (61, Some(clock), Some(5))
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
    #[test]
    fn faults_are_read() {
        let devices = parse(
            "dev mlx5_0 0 0 0\ndrift -40\nstep 7\npath 1000\nfabric 4711\nsteer label\nfail ibv_modify_qp 22\nerror send 3 12\n\
             error receive 0 5\nentries 4\nevent 1 18 2\nchaos 9 50\n",
        );
        let device = &devices[0];
        assert_eq!(
            (device.drift, device.step, device.path),
            (-40, 7, Some(1_000))
        );
        assert_eq!(
            (device.steering, device.fabric),
            (Steering::Label, Some(4_711))
        );
        assert_eq!(device.failures, [("ibv_modify_qp".to_owned(), 22)]);
        assert_eq!(device.send_error, Some((3, 12)));
        // Each: there is no request before the first.
        assert_eq!(device.receive_error, Some((1, 5)));
        assert_eq!((device.entries, device.chaos), (Some(4), Some((9, 50))));
        assert_eq!(device.events, [(1, 18, 2)]);
    }
}
