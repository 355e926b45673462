//! One QEMU guest: its process, its console log, its control channel.
//!
//! The control channel is a virtio-serial port on a Unix socket. The host sends lines `NUMBER BASE64`, a shell script
//! under a number of its own; the guest answers `ready` once, then `o NUMBER LINE` per line of output and
//! `x NUMBER STATUS` at the end. Commands run side by side. When this process ends, however it ends, the guest reads the
//! end of the channel and powers itself off.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::{Accelerator, Arch};
use crate::process::Owned;

/// How often the process is looked at while nothing arrives from the guest.
const WATCH: Duration = Duration::from_millis(200);

/// What to boot.
pub(crate) struct GuestSpec<'a> {
    /// Position in the scenario: decides the MAC address and which environment the guest reads.
    pub(crate) number: usize,
    /// The node's name.
    pub(crate) name: &'a str,
    /// Memory in MiB.
    pub(crate) memory: u32,
    /// Processor.
    pub(crate) arch: Arch,
    /// How it is run.
    pub(crate) accel: Accelerator,
    /// Kernel image.
    pub(crate) kernel: &'a Path,
    /// Initramfs.
    pub(crate) initramfs: &'a Path,
    /// Socket of the switch.
    pub(crate) switch: &'a Path,
    /// Folder for the log and the control socket.
    pub(crate) folder: &'a Path,
}

/// A command whose output is printed as it arrives.
const FOLLOWED: u32 = 0;

enum Event {
    Ready,
    Line(u32, String),
    Ended(u32, i32),
    Closed,
}

/// Called for every line that a command prints.
pub(crate) type OnLine<'a> = &'a mut dyn FnMut(&str);

/// A running guest; dropping it ends it.
pub(crate) struct Guest {
    /// The node's name.
    pub(crate) name: String,
    console: PathBuf,
    qemu: Owned,
    control: UnixStream,
    events: Receiver<Event>,
    commands: u32,
}

impl Guest {
    /// Starts QEMU; [`Guest::await_boot`] waits for the guest.
    pub(crate) fn start(spec: &GuestSpec<'_>) -> Result<Self> {
        let socket = spec.folder.join(format!("{}.control", spec.name));
        let console = spec.folder.join(format!("{}.log", spec.name));
        let listener = UnixListener::bind(&socket)
            .with_context(|| format!("listen on {}", socket.display()))?;
        let mut qemu = Owned::spawn(&mut command(spec, &socket, &console)?).with_context(|| {
            format!(
                "start {} (package qemu-system-x86 or qemu-system-arm)",
                spec.arch.qemu()
            )
        })?;
        let control = accept(&listener, &mut qemu, &console)?;
        let (sender, events) = channel();
        let reader = control.try_clone().context("the control channel")?;
        let name = spec.name.to_owned();
        thread::Builder::new()
            .name(format!("control-{}", spec.name))
            .spawn(move || read_events(&name, reader, &sender))
            .context("start the reader of the control channel")?;
        Ok(Self {
            name: spec.name.to_owned(),
            console,
            qemu,
            control,
            events,
            commands: 0,
        })
    }

    /// Waits until the guest takes commands.
    pub(crate) fn await_boot(&mut self, deadline: Instant) -> Result<()> {
        loop {
            match self.next(deadline)? {
                Some(Event::Ready) => return Ok(()),
                Some(Event::Closed) => bail!("{}: the guest ended while booting", self.name),
                Some(Event::Line(..) | Event::Ended(..)) => {}
                None => bail!("{}: the guest did not boot in time", self.name),
            }
        }
    }

    /// Starts a shell script whose output goes to our standard output with the node's name before every line.
    pub(crate) fn follow(&mut self, script: &str) -> Result<()> {
        self.send(FOLLOWED, script)
    }

    /// Starts a shell script and returns its number.
    fn begin(&mut self, script: &str) -> Result<u32> {
        self.commands += 1;
        self.send(self.commands, script)?;
        Ok(self.commands)
    }

    fn send(&mut self, number: u32, script: &str) -> Result<()> {
        let line = format!("{number} {}\n", base64(script.as_bytes()));
        self.control
            .write_all(line.as_bytes())
            .with_context(|| format!("{}: the control channel is closed", self.name))
    }

    /// Runs a shell script to its end and returns its status; `None` when the deadline came first.
    pub(crate) fn run(
        &mut self,
        script: &str,
        deadline: Instant,
        on_line: OnLine<'_>,
    ) -> Result<Option<i32>> {
        let number = self.begin(script)?;
        loop {
            match self.next(deadline)? {
                Some(Event::Line(from, line)) if from == number => on_line(&line),
                Some(Event::Ended(ended, status)) if ended == number => return Ok(Some(status)),
                Some(Event::Line(..) | Event::Ended(..) | Event::Ready) => {}
                Some(Event::Closed) => bail!("{}: the guest is gone", self.name),
                None => return Ok(None),
            }
        }
    }

    /// The last lines of the console.
    pub(crate) fn console_tail(&self, lines: usize) -> String {
        tail(&self.console, lines)
    }

    fn next(&mut self, deadline: Instant) -> Result<Option<Event>> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left.min(WATCH)) {
                Ok(event) => return Ok(Some(event)),
                Err(RecvTimeoutError::Disconnected) => return Ok(Some(Event::Closed)),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(status) = self.qemu.ended()? {
                        bail!("{}: QEMU ended with {status}", self.name);
                    }
                }
            }
        }
    }
}

/// Options that describe the computer, without its devices.
pub(crate) fn machine(command: &mut Command, arch: Arch, accel: Accelerator, memory: u32) {
    let (board, cpu) = match (arch, accel) {
        (Arch::X86_64, Accelerator::Kvm) => ("q35", "host"),
        (Arch::X86_64, _) => ("q35", "max,la57=off"),
        (Arch::Aarch64, Accelerator::Kvm) => ("virt", "host"),
        (Arch::Aarch64, _) => ("virt", "cortex-a72"),
    };
    command
        .args([
            "-M",
            board,
            "-cpu",
            cpu,
            "-accel",
            accel.name(),
            "-smp",
            "1",
        ])
        .args(["-m", &memory.to_string()])
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ]);
}

/// Kernel arguments of every guest: its console, and to end QEMU on a panic.
pub(crate) fn kernel_arguments(arch: Arch) -> &'static str {
    match arch {
        // On a busy machine an emulated timer may not tick within the time for which the kernel tests it at boot.
        Arch::X86_64 => "console=ttyS0 panic=-1 no_timer_check",
        Arch::Aarch64 => "console=ttyAMA0 panic=-1",
    }
}

fn command(spec: &GuestSpec<'_>, control: &Path, console: &Path) -> Result<Command> {
    let errors = fs::File::create(console.with_extension("qemu")).context("create QEMU's log")?;
    let mut command = Command::new(spec.arch.qemu());
    machine(&mut command, spec.arch, spec.accel, spec.memory);
    command
        .args(["-name", spec.name])
        .arg("-kernel")
        .arg(spec.kernel)
        .arg("-initrd")
        .arg(spec.initramfs)
        .arg("-append")
        .arg(format!(
            "{} quiet loglevel=4 net.ifnames=0 rpingmesh.node={}",
            kernel_arguments(spec.arch),
            spec.number
        ))
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .arg("-netdev")
        .arg(format!(
            "stream,id=segment,server=off,addr.type=unix,addr.path={}",
            spec.switch.display()
        ))
        .arg("-device")
        .arg(format!(
            "virtio-net-pci,netdev=segment,romfile=,mac=52:54:00:77:00:{:02x}",
            spec.number + 1
        ))
        .args(["-device", "virtio-serial-pci"])
        .arg("-chardev")
        .arg(format!(
            "socket,id=control,server=off,path={}",
            control.display()
        ))
        .args(["-device", "virtserialport,chardev=control,name=control"])
        .stdin(Stdio::null())
        .stdout(errors.try_clone().context("QEMU's log")?)
        .stderr(errors);
    Ok(command)
}

/// Waits for QEMU to connect, or to end because it dislikes its options.
fn accept(listener: &UnixListener, qemu: &mut Owned, console: &Path) -> Result<UnixStream> {
    listener
        .set_nonblocking(true)
        .context("the control socket")?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream
                    .set_nonblocking(false)
                    .context("the control socket")?;
                return Ok(stream);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if let Some(status) = qemu.ended()? {
                    bail!(
                        "QEMU ended with {status}:\n{}",
                        tail(&console.with_extension("qemu"), 20)
                    );
                }
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error).context("accept QEMU's control connection"),
        }
    }
}

fn read_events(name: &str, stream: UnixStream, events: &Sender<Event>) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        match parse(text.trim_end_matches(['\n', '\r'])) {
            Some(Event::Line(FOLLOWED, line)) => println!("{name:>12} : {line}"),
            Some(event) => match events.send(event) {
                Ok(()) => {}
                Err(_) => return,
            },
            None => {}
        }
    }
    // Nobody may listen any more; then nobody needs to know.
    let _ = events.send(Event::Closed);
}

fn parse(line: &str) -> Option<Event> {
    if line == "ready" {
        return Some(Event::Ready);
    }
    let mut parts = line.splitn(3, ' ');
    let kind = parts.next()?;
    let number = parts.next()?.parse().ok()?;
    let rest = parts.next().unwrap_or_default();
    match kind {
        "o" => Some(Event::Line(number, rest.to_owned())),
        "x" => Some(Event::Ended(number, rest.parse().unwrap_or(-1))),
        _ => None,
    }
}

fn tail(file: &Path, lines: usize) -> String {
    let Ok(bytes) = fs::read(file) else {
        return format!("{} cannot be read", file.display());
    };
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .fold(0u32, |group, byte| group << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for position in 0..4 {
            let sextet = (group >> (18 - 6 * position)) & 63;
            text.push(if position > chunk.len() {
                '='
            } else {
                char::from(ALPHABET[usize::try_from(sextet).unwrap_or_default()])
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_rfc_4648() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn lines_of_the_channel() {
        assert!(matches!(parse("ready"), Some(Event::Ready)));
        assert!(matches!(parse("o 3 a b  c"), Some(Event::Line(3, text)) if text == "a b  c"));
        assert!(matches!(parse("o 3 "), Some(Event::Line(3, text)) if text.is_empty()));
        assert!(matches!(parse("x 12 0"), Some(Event::Ended(12, 0))));
        assert!(matches!(parse("x 12 "), Some(Event::Ended(12, -1))));
        assert!(parse("noise").is_none());
        assert!(parse("o nonumber x").is_none());
    }
}
