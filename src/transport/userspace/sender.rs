//! The sockets that an endpoint sends from: one for each UDP source port, a bounded number of them.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::Interest;
use tokio::time::{Instant, timeout_at};

use crate::id::UdpSourcePort;
use crate::time::NicTime;
use crate::transport::{Completion, SendStatus, SendToken};

use super::socket::{ControlBuffer, now, sender, sent_stamp, set_traffic_class};

/// How many sending sockets an endpoint keeps. More source ports than that work, but cost a socket for each change.
const MAX_SOCKETS: usize = 256;

/// How many ports are tried when the wanted one is taken.
const PORT_TRIES: u16 = 64;

/// How long a send time stamp may take. Drivers stamp when they hand the packet to the device, normally before the
/// call returns; some never do. Then the time at which the call returned stands in: of the same clock, a little late.
const STAMP_LIMIT: Duration = Duration::from_millis(50);

/// A datagram that was sent and whose time stamp is missing yet.
struct Unstamped {
    number: u32,
    token: SendToken,
    /// When the call returned.
    returned: NicTime,
    deadline: Instant,
}

struct Sender {
    socket: UdpSocket,
    port: UdpSourcePort,
    stamped: bool,
    traffic_class: u8,
    next_number: u32,
    unstamped: VecDeque<Unstamped>,
    last_use: u64,
    /// Whether a future waits for the error queue.
    watched: bool,
}

type Watch = Pin<Box<dyn Future<Output = UdpSourcePort> + Send>>;

/// The sending sockets of one endpoint.
pub(super) struct Senders {
    /// Address, and scope for link-local ones; its port has no meaning.
    local: SocketAddr,
    /// By the port that was wanted.
    sockets: HashMap<UdpSourcePort, Sender>,
    uses: u64,
    control: ControlBuffer,
    /// Sockets whose stamps did not come at once.
    watches: FuturesUnordered<Watch>,
    unstamped: usize,
    late_stamps: u64,
}

impl Senders {
    pub(super) fn new(local: SocketAddr) -> Self {
        Self {
            local,
            sockets: HashMap::new(),
            uses: 0,
            control: ControlBuffer::new(),
            watches: FuturesUnordered::new(),
            unstamped: 0,
            late_stamps: 0,
        }
    }

    /// Datagrams that were sent and not reported yet.
    pub(super) fn unstamped(&self) -> usize {
        self.unstamped
    }

    /// The port that datagrams wanted from `port` really have.
    pub(super) fn real_port(&self, port: UdpSourcePort) -> UdpSourcePort {
        self.sockets.get(&port).map_or(port, |sender| sender.port)
    }

    /// Makes the socket for `wanted` if there is none, and returns its real port.
    pub(super) fn prepare(
        &mut self,
        wanted: UdpSourcePort,
        done: &mut impl FnMut(Completion),
    ) -> io::Result<UdpSourcePort> {
        self.uses += 1;
        if let Some(known) = self.sockets.get_mut(&wanted) {
            known.last_use = self.uses;
            return Ok(known.port);
        }
        if self.sockets.len() >= MAX_SOCKETS {
            let oldest = self
                .sockets
                .iter()
                .min_by_key(|(_, sender)| sender.last_use)
                .map(|(port, _)| *port);
            if let Some(oldest) = oldest {
                self.close(oldest, done);
            }
        }
        let (socket, port, stamped) = open(self.local, wanted)?;
        self.sockets.insert(
            wanted,
            Sender {
                socket,
                port,
                stamped,
                traffic_class: 0,
                next_number: 0,
                unstamped: VecDeque::new(),
                last_use: self.uses,
                watched: false,
            },
        );
        Ok(port)
    }

    /// Sends from the socket for `wanted`, which [`Senders::prepare`] has made, and calls `done` with every
    /// completion that is known at once.
    pub(super) fn send(
        &mut self,
        wanted: UdpSourcePort,
        token: SendToken,
        (to, traffic_class): (SocketAddr, u8),
        bytes: &[u8],
        done: &mut impl FnMut(Completion),
    ) -> io::Result<()> {
        let v6 = self.local.is_ipv6();
        let Some(sender) = self.sockets.get_mut(&wanted) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        if sender.traffic_class != traffic_class {
            set_traffic_class(&sender.socket, traffic_class, v6)?;
            sender.traffic_class = traffic_class;
        }
        // A time after the call would fall behind the arrival of a datagram that stays on this host.
        let before = (!sender.stamped).then(now);
        if let Err(error) = sender.socket.send_to(bytes, to) {
            // Whether the kernel counted the datagram is not known, so its numbers are not known any more.
            self.close(wanted, done);
            return Err(error);
        }
        if let Some(at) = before {
            done(sent(token, at));
            return Ok(());
        }
        let number = sender.next_number;
        sender.next_number = number.wrapping_add(1);
        if sender.unstamped.is_empty()
            && let Ok((stamped, at)) = sent_stamp(&sender.socket, &mut self.control)
            && stamped == number
        {
            done(sent(token, at));
            return Ok(());
        }
        let returned = now();
        let deadline = Instant::now() + STAMP_LIMIT;
        sender.unstamped.push_back(Unstamped {
            number,
            token,
            returned,
            deadline,
        });
        self.unstamped += 1;
        self.collect(wanted, done);
        self.watch(wanted);
        Ok(())
    }

    /// Takes the time stamps that are there.
    fn collect(&mut self, wanted: UdpSourcePort, done: &mut impl FnMut(Completion)) {
        let Some(sender) = self.sockets.get_mut(&wanted) else {
            return;
        };
        while !sender.unstamped.is_empty() {
            let Ok((number, at)) = sent_stamp(&sender.socket, &mut self.control) else {
                return;
            };
            let place = sender.unstamped.iter().position(|one| one.number == number);
            if let Some(one) = place.and_then(|place| sender.unstamped.remove(place)) {
                self.unstamped -= 1;
                done(sent(one.token, at));
            }
        }
    }

    /// Has the task woken when the socket's next time stamp is there.
    fn watch(&mut self, wanted: UdpSourcePort) {
        let Some(sender) = self.sockets.get_mut(&wanted) else {
            return;
        };
        if sender.watched {
            return;
        }
        let Some(deadline) = sender.unstamped.front().map(|one| one.deadline) else {
            return;
        };
        sender.watched = true;
        let socket = sender.socket.try_clone();
        self.watches.push(Box::pin(async move {
            // Ready or too late: whoever takes the stamps finds out.
            let _ = timeout_at(deadline, error_queue(socket)).await;
            wanted
        }));
    }

    /// Reports what has been stamped since, and what has waited too long. Registers the waker for the rest.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, done: &mut impl FnMut(Completion)) {
        while let Poll::Ready(Some(wanted)) = self.watches.poll_next_unpin(cx) {
            if let Some(sender) = self.sockets.get_mut(&wanted) {
                sender.watched = false;
            }
            self.collect(wanted, done);
            self.expire(wanted, Instant::now(), done);
            self.watch(wanted);
        }
    }

    fn expire(&mut self, wanted: UdpSourcePort, now: Instant, done: &mut impl FnMut(Completion)) {
        let Some(sender) = self.sockets.get_mut(&wanted) else {
            return;
        };
        while let Some(one) = sender.unstamped.pop_front_if(|one| one.deadline <= now) {
            self.unstamped -= 1;
            if self.late_stamps == 0 {
                tracing::warn!(
                    address = %self.local.ip(),
                    "the interface's driver gave no send time stamp: the time when the call returned is used instead"
                );
            }
            self.late_stamps += 1;
            done(sent(one.token, one.returned));
        }
    }

    /// Closes the socket for `wanted` and reports what it has sent.
    fn close(&mut self, wanted: UdpSourcePort, done: &mut impl FnMut(Completion)) {
        self.collect(wanted, done);
        if let Some(sender) = self.sockets.remove(&wanted) {
            for one in sender.unstamped {
                self.unstamped -= 1;
                done(sent(one.token, one.returned));
            }
        }
    }
}

fn sent(token: SendToken, at: NicTime) -> Completion {
    Completion::Sent {
        token,
        at,
        status: SendStatus::Sent,
    }
}

/// Ends when the socket's error queue has something. A socket that cannot be watched never has.
async fn error_queue(socket: io::Result<UdpSocket>) {
    // The registration with the reactor is as short as the wait: most stamps need none.
    match socket.and_then(tokio::net::UdpSocket::from_std) {
        Ok(socket) => {
            if socket.ready(Interest::ERROR).await.is_ok() {
                return;
            }
        }
        Err(error) => {
            tracing::warn!(%error, "a sending socket cannot be watched for time stamps");
        }
    }
    std::future::pending::<()>().await;
}

/// A socket on the wanted port, or on the next free one of those that flow labels reach.
fn open(local: SocketAddr, wanted: UdpSourcePort) -> io::Result<(UdpSocket, UdpSourcePort, bool)> {
    let mut taken = None;
    for step in 0..PORT_TRIES {
        let number = wanted
            .0
            .wrapping_sub(UdpSourcePort::FIRST)
            .wrapping_add(step)
            % UdpSourcePort::COUNT;
        let port = UdpSourcePort(UdpSourcePort::FIRST + number);
        let mut address = local;
        address.set_port(port.0);
        match sender(address) {
            Ok(opened) => {
                if let Some(error) = taken {
                    tracing::warn!(
                        %wanted, used = %port, %error,
                        "the UDP source port of a flow label is taken on this host: another one is used"
                    );
                }
                return Ok((opened.socket, port, opened.stamped));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => taken = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(taken.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}
