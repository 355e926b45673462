//! The way from one agent to one server: a proxy that can be closed or fall silent.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Read at once, in bytes.
const PIECE: usize = 16 << 10;

/// How the way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Open,
    /// Connections end, and none is let through.
    Closed,
    /// Connections stay, and nothing passes to the server (`up`), to the agent (`down`) or both.
    Silent {
        up: bool,
        down: bool,
    },
}

impl Way {
    fn holds_up(self) -> bool {
        matches!(self, Self::Silent { up: true, .. })
    }

    fn holds_down(self) -> bool {
        matches!(self, Self::Silent { down: true, .. })
    }
}

/// The way. It ends with this.
pub(super) struct Link {
    /// Where the agent finds its server.
    pub(super) address: SocketAddr,
    way: watch::Sender<Way>,
}

impl Link {
    /// To a server, wherever that is at the time; `None` while it is not there. Its connections end when it goes.
    pub(super) async fn new(server: watch::Receiver<Option<SocketAddr>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("its address");
        let (way, seen) = watch::channel(Way::Open);
        tokio::spawn(accept(listener, server, seen));
        Self { address, way }
    }

    pub(super) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    pub(super) fn is_open(&self) -> bool {
        *self.way.borrow() == Way::Open
    }
}

async fn accept(
    listener: TcpListener,
    server: watch::Receiver<Option<SocketAddr>>,
    way: watch::Receiver<Way>,
) {
    let mut ended = way.clone();
    let accepting = async {
        while let Ok((agent, _)) = listener.accept().await {
            let there = *server.borrow();
            if let Some(there) = there.filter(|_| *way.borrow() != Way::Closed) {
                tokio::spawn(carry(agent, there, server.clone(), way.clone()));
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        // The owner of the other end has gone.
        () = async { while ended.changed().await.is_ok() {} } => {}
    }
}

async fn carry(
    agent: TcpStream,
    there: SocketAddr,
    mut server: watch::Receiver<Option<SocketAddr>>,
    way: watch::Receiver<Way>,
) {
    let Ok(stream) = TcpStream::connect(there).await else {
        return;
    };
    let (from_agent, to_agent) = agent.into_split();
    let (from_server, to_server) = stream.into_split();
    let mut closed = way.clone();
    tokio::select! {
        () = pass(from_agent, to_server, way.clone(), Way::holds_up) => {}
        () = pass(from_server, to_agent, way, Way::holds_down) => {}
        _ = closed.wait_for(|way| *way == Way::Closed) => {}
        _ = server.wait_for(|now| *now != Some(there)) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
    holds: fn(Way) -> bool,
) {
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        if way.wait_for(|way| !holds(*way)).await.is_err() {
            return;
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
