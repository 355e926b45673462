//! What all of this process shares: the table as it is now, the devices that were listed, the contexts that are open.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdma_core_sys::abi;

use crate::faults;
use crate::table::{self, Device, Port};

/// How often the table's file is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// An open context.
struct Open {
    device: String,
    /// Where its asynchronous events are written.
    events: i32,
    opened: Instant,
    broken: bool,
    /// Objects that were made from it and are not destroyed.
    objects: i64,
}

#[derive(Default)]
struct World {
    devices: Vec<Device>,
    /// Addresses of the `ibv_device` structs by name; they stay for the process's life, as programs may keep them.
    listed: HashMap<String, usize>,
    open: HashMap<usize, Open>,
}

static WORLD: LazyLock<Mutex<World>> = LazyLock::new(|| {
    // Before the table is read: what changes meanwhile shows.
    let seen = stamp();
    thread::spawn(move || watch(seen));
    Mutex::new(World {
        devices: read(),
        ..World::default()
    })
});

fn world() -> MutexGuard<'static, World> {
    WORLD.lock().unwrap_or_else(PoisonError::into_inner)
}

fn path() -> String {
    std::env::var(crate::TABLE).unwrap_or_default()
}

fn read() -> Vec<Device> {
    table::parse(&fs::read_to_string(path()).unwrap_or_default())
}

/// The devices of the table.
pub(crate) fn devices() -> Vec<Device> {
    world().devices.clone()
}

/// One of them.
pub(crate) fn device(name: &str) -> Option<Device> {
    let world = world();
    world.devices.iter().find(|one| one.name == name).cloned()
}

/// The struct of a device, made when it is listed first.
pub(crate) fn listed(name: &str, make: impl FnOnce() -> usize) -> usize {
    *world().listed.entry(name.to_owned()).or_insert_with(make)
}

/// A context is open; its events go to this descriptor.
pub(crate) fn opened(context: usize, device: &str, events: i32) {
    let open = Open {
        device: device.to_owned(),
        events,
        opened: Instant::now(),
        broken: false,
        objects: 0,
    };
    world().open.insert(context, open);
}

/// A context is closed: nothing is written to its descriptor any more. The log tells what was left of it.
pub(crate) fn closed(context: usize) {
    let Some(open) = world().open.remove(&context) else {
        return;
    };
    log(&format!("close {} objects {}", open.device, open.objects));
}

/// An object was made from a context (1) or destroyed (−1).
pub(crate) fn count(context: *mut abi::ibv_context, by: i64) {
    if let Some(open) = world().open.get_mut(&context.addr()) {
        open.objects += by;
    }
}

/// Sends an asynchronous event to a context.
pub(crate) fn notify(context: *mut abi::ibv_context, kind: u32, port: i32) {
    if let Some(open) = world().open.get(&context.addr()) {
        send(open.events, kind, port);
    }
}

/// A line of the log.
pub(crate) fn log(line: &str) {
    let Ok(path) = std::env::var(crate::LOG) else {
        return;
    };
    if let Ok(mut file) = fs::OpenOptions::new().create(true).append(true).open(path) {
        // Whoever reads the log misses the line.
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}

/// What tells one table from the next: inode, change and length of its file.
type Stamp = Option<(u64, i64, i64, u64)>;

fn stamp() -> Stamp {
    let file = fs::metadata(path()).ok()?;
    Some((file.ino(), file.mtime(), file.mtime_nsec(), file.len()))
}

/// Sends the events that follow from changes of the table and from the time that passes.
fn watch(mut seen: Stamp) {
    loop {
        thread::sleep(LOOK);
        let now = stamp();
        let mut world = world();
        // Between two names of a file that is replaced there may be none.
        if now.is_some() && now != seen {
            seen = now;
            let before = std::mem::replace(&mut world.devices, read());
            world.notify_changes(&before);
        }
        world.notify_broken();
        world.notify_anything();
    }
}

impl World {
    fn notify_changes(&self, before: &[Device]) {
        for open in self.open.values() {
            let find = |devices: &[Device]| {
                let one = devices.iter().find(|one| one.name == open.device);
                one.cloned().unwrap_or_default()
            };
            let (old, new) = (find(before), find(&self.devices));
            if new.name.is_empty() {
                send(open.events, abi::IBV_EVENT_DEVICE_FATAL, 0);
            }
            for (number, kind, port) in &new.events {
                if old.events.iter().all(|(known, ..)| known != number) {
                    send(open.events, *kind, *port);
                }
            }
            for port in new.ports.iter().filter(|_| !new.quiet) {
                let number = i32::from(port.number);
                let active = |port: Option<&Port>| {
                    port.is_some_and(|port| port.state == abi::IBV_PORT_ACTIVE)
                };
                let was = active(old.ports.iter().find(|one| one.number == port.number));
                let gids = |device: &Device| -> Vec<_> {
                    let own = device.gids.iter().filter(|gid| gid.port == port.number);
                    own.cloned().collect()
                };
                if gids(&old) != gids(&new) {
                    send(open.events, abi::IBV_EVENT_GID_CHANGE, number);
                }
                match (was, active(Some(port))) {
                    (false, true) => send(open.events, abi::IBV_EVENT_PORT_ACTIVE, number),
                    (true, false) => send(open.events, abi::IBV_EVENT_PORT_ERR, number),
                    _ => {}
                }
            }
        }
    }

    /// Events that mean nothing, of devices that do anything.
    fn notify_anything(&self) {
        for open in self.open.values() {
            let device = self.devices.iter().find(|one| one.name == open.device);
            if let Some(number) = device.and_then(faults::anything) {
                // Half of them of types that exist.
                let kind = match faults::high(number) {
                    kind if kind % 2 == 0 => kind % 24,
                    kind => kind,
                };
                send(open.events, kind, faults::low(number).cast_signed() % 4);
            }
        }
    }

    fn notify_broken(&mut self) {
        for open in self.open.values_mut().filter(|open| !open.broken) {
            let device = self.devices.iter().find(|one| one.name == open.device);
            let Some(after) = device.and_then(|device| device.broken) else {
                continue;
            };
            if open.opened.elapsed() >= Duration::from_millis(after) {
                open.broken = true;
                send(open.events, abi::IBV_EVENT_DEVICE_FATAL, 0);
            }
        }
    }
}

fn send(events: i32, kind: u32, port: i32) {
    let words = [port, i32::from_ne_bytes(kind.to_ne_bytes())];
    // SAFETY: the descriptor is the context's, which is open while it stands in the world; the array is readable.
    let written = unsafe { libc::write(events, words.as_ptr().cast(), size_of_val(&words)) };
    // A pipe that is full holds thousands of events that nobody reads.
    let _ = written;
}
