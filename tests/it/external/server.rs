//! A server of others on loopback: Debian's programs with temporary storage, ended with the value that holds them.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long one of them may take to listen, on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running server.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Reads on, or the program would block.
    _lines: Receiver<String>,
}

impl Server {
    /// Alertmanager with a configuration, on a port that the system chooses (0) or on a given one.
    pub(crate) fn alertmanager(folder: &Path, configuration: &str, port: u16) -> Self {
        let file = folder.join("alertmanager.yml");
        std::fs::write(&file, configuration).expect("a file");
        Self::start(
            Command::new("prometheus-alertmanager")
                .arg(format!("--config.file={}", file.display()))
                .arg(format!("--storage.path={}", folder.join("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                // No cluster: it would open a port of its own.
                .arg("--cluster.listen-address="),
        )
    }

    /// Prometheus with a configuration, on a port that the system chooses.
    pub(crate) fn prometheus(folder: &Path, configuration: &str) -> Self {
        let file = folder.join("prometheus.yml");
        std::fs::write(&file, configuration).expect("a file");
        Self::start(
            Command::new("prometheus")
                .arg(format!("--config.file={}", file.display()))
                .arg(format!(
                    "--storage.tsdb.path={}",
                    folder.join("tsdb").display()
                ))
                .arg("--enable-feature=exemplar-storage")
                .arg("--web.listen-address=127.0.0.1:0"),
        )
    }

    /// Starts a program that says `msg="Listening on" address=ADDRESS` in its log, as those of the Prometheus project do.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{command:?}: {error}; `cargo xtask test --only packages` installs it")
            });
        let pipe = child.stderr.take().expect("pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                // Nobody may listen any more; the pipe is read all the same.
                let _ = sender.send(line);
            }
        });
        let end = Instant::now() + PATIENCE;
        let mut seen = VecDeque::new();
        let address = loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = lines.recv_timeout(left) else {
                // Not yet a value that ends it.
                let _ = child.kill();
                panic!("{command:?} does not listen: {seen:#?}");
            };
            let address = line
                .split_once("msg=\"Listening on\" address=")
                .and_then(|(_, address)| address.split_whitespace().next()?.parse().ok());
            seen.push_back(line);
            if let Some(address) = address {
                break address;
            }
        };
        Self {
            child,
            address,
            _lines: lines,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
