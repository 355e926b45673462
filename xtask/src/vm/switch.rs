//! The guests' Ethernet segment: a learning switch in this process, one Unix stream socket per guest.
//!
//! QEMU frames its `-netdev stream` with a 4-byte big-endian length. A reader thread per guest feeds one switch thread,
//! which alone owns the table of addresses; a writer thread per guest keeps a slow guest from stopping the others.
//! Everything ends by itself when the guests' sockets close.

use std::collections::HashMap;
use std::io::{self, Read, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread;

use anyhow::{Context as _, Result};

/// Frames that wait for one guest: a burst of a whole TCP window (64 KiB at 1.5 KB) with room to spare. More are dropped,
/// as a switch does.
const PORT_DEPTH: usize = 256;

/// Larger than any frame of a guest with segmentation offload.
const MAX_FRAME: usize = 128 * 1024;

type Frame = Arc<[u8]>;
type Mac = [u8; 6];

enum Event {
    Joined(usize, SyncSender<Frame>),
    Frame(usize, Frame),
    Left(usize),
}

/// The switch; guests connect to its socket.
#[derive(Debug)]
pub(crate) struct Switch {
    dropped: Arc<AtomicU64>,
}

impl Switch {
    /// Listens on a new Unix socket and carries frames until the process ends.
    pub(crate) fn start(socket: &Path) -> Result<Self> {
        let listener = UnixListener::bind(socket)
            .with_context(|| format!("listen on {}", socket.display()))?;
        let dropped = Arc::new(AtomicU64::new(0));
        let (events, inbox) = channel();
        let counter = Arc::clone(&dropped);
        spawn("switch", move || forward(&inbox, &counter))?;
        spawn("switch-accept", move || {
            for (port, stream) in listener.incoming().filter_map(Result::ok).enumerate() {
                if join(port, stream, &events).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { dropped })
    }

    /// Frames lost because a guest did not take them in time.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .context("start a thread of the switch")?;
    Ok(())
}

fn join(port: usize, stream: UnixStream, events: &Sender<Event>) -> Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = stream;
    let (frames, queue) = sync_channel::<Frame>(PORT_DEPTH);
    events.send(Event::Joined(port, frames))?;
    spawn("switch-out", move || {
        for frame in queue {
            if write_frame(&mut writer, &frame).is_err() {
                return;
            }
        }
    })?;
    let events = events.clone();
    spawn("switch-in", move || {
        while let Ok(frame) = read_frame(&mut reader) {
            if events.send(Event::Frame(port, frame)).is_err() {
                return;
            }
        }
        // The switch thread outlives its guests; if it is gone there is nobody to tell.
        let _ = events.send(Event::Left(port));
    })
}

fn forward(inbox: &Receiver<Event>, dropped: &AtomicU64) {
    let mut ports: HashMap<usize, SyncSender<Frame>> = HashMap::new();
    let mut stations: HashMap<Mac, usize> = HashMap::new();
    for event in inbox {
        match event {
            Event::Joined(port, frames) => {
                ports.insert(port, frames);
            }
            Event::Left(port) => {
                ports.remove(&port);
                stations.retain(|_, at| *at != port);
            }
            Event::Frame(from, frame) => {
                let Some((to, source)) = addresses(&frame) else {
                    continue;
                };
                stations.insert(source, from);
                let known = stations.get(&to).copied();
                for (_, queue) in ports
                    .iter()
                    .filter(|(port, _)| **port != from && known.is_none_or(|known| known == **port))
                {
                    if let Err(TrySendError::Full(_)) = queue.try_send(Arc::clone(&frame)) {
                        dropped.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
    }
}

/// Destination and source; a group address never becomes a station because nobody sends from it.
fn addresses(frame: &[u8]) -> Option<(Mac, Mac)> {
    let to = frame.get(0..6)?.try_into().ok()?;
    let from = frame.get(6..12)?.try_into().ok()?;
    Some((to, from))
}

fn read_frame(stream: &mut impl Read) -> io::Result<Frame> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_FRAME {
        return Err(io::Error::other("frame too long"));
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame)?;
    Ok(frame.into())
}

fn write_frame(stream: &mut UnixStream, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
    let mut packet = Vec::with_capacity(4 + frame.len());
    packet.extend_from_slice(&length.to_be_bytes());
    packet.extend_from_slice(frame);
    stream.write_all(&packet)
}
