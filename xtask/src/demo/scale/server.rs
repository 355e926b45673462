//! A PostgreSQL server on loopback, with its data in a folder of the demonstration.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::fleet::{free_port, until};
use crate::cache::Cache;
use crate::process::{self, Owned, output};
use crate::test::packages;

const USER: &str = "demo";
/// Where distributions have the server's programs, one folder for each version.
const PLACES: [(&str, &str); 2] = [("/usr/lib/postgresql", "bin"), ("/usr", "bin")];

/// A running server.
pub(super) struct Server {
    programs: PathBuf,
    folder: PathBuf,
    pub(super) port: u16,
    process: Option<Owned>,
}

impl Server {
    /// Makes a database cluster in this folder, and starts it. Installs PostgreSQL as root on Debian where it is missing.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let programs = match programs() {
            Some(programs) => programs,
            None => {
                packages::provide(&Cache::open()?, packages::Purpose::Database)?;
                programs()
                    .context("PostgreSQL is installed, but its program `initdb` is not found")?
            }
        };
        let password = fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(folder.join("password"));
        let written = password.and_then(|mut file| file.write_all(secret()?.as_bytes()));
        written.context("write a password")?;
        let mut server = Self {
            programs,
            folder: folder.to_owned(),
            port: free_port()?,
            process: None,
        };
        let mut initdb = server.program("initdb")?;
        initdb.args([
            "--no-sync",
            "--no-instructions",
            "--encoding=UTF8",
            "--locale=C",
            "--auth=scram-sha-256",
            "--username",
            USER,
        ]);
        initdb.arg(format!("--pwfile={}", folder.join("password").display()));
        output(initdb.arg(folder.join("data")))?;
        server.begin()?;
        Ok(server)
    }

    /// Its version, as it names it.
    pub(super) fn version(&self) -> Result<String> {
        let text = output(Command::new(self.programs.join("postgres")).arg("--version"))?;
        Ok(text.trim().replace("postgres (PostgreSQL)", "PostgreSQL"))
    }

    /// The store for controllers and analyzers.
    pub(super) fn store(&self) -> String {
        let (port, password) = (self.port, self.folder.join("password"));
        let password = password.display();
        format!("postgres://{USER}@127.0.0.1:{port}/postgres?fleet=demo&password_file={password}")
    }

    /// Ends it at once, all its processes, without writing anything. Starts it again.
    pub(super) fn restart(&mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            // SIGQUIT: an immediate shutdown. The server recovers from its log when it starts, as after a loss of power.
            output(Command::new("kill").args(["-QUIT", &process.id().to_string()]))?;
            process.wait()?;
        }
        self.begin()
    }

    fn begin(&mut self) -> Result<()> {
        let log = fs::File::create(self.folder.join("postgres.log")).context("write a log")?;
        let mut postgres = self.program("postgres")?;
        postgres.arg("-D").arg(self.folder.join("data"));
        postgres.args(["-p", &self.port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=60",
            "fsync=off",
        ] {
            postgres.args(["-c", setting]);
        }
        postgres.stdin(Stdio::null()).stdout(Stdio::null());
        self.process = Some(Owned::spawn(postgres.stderr(log))?);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        until("PostgreSQL listens", || {
            Ok(TcpStream::connect(address).ok().map(drop))
        })?;
        Ok(())
    }

    /// As an ordinary user: these programs refuse root.
    fn program(&self, name: &str) -> Result<Command> {
        let path = self.programs.join(name);
        if !packages::is_root()? {
            return Ok(Command::new(path));
        }
        if !process::in_path("unshare") {
            bail!(
                "PostgreSQL does not run as root, and unshare (util-linux) is missing: run this as another user"
            );
        }
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-user=1000", "--map-group=1000", "--"]);
        command.arg(path);
        Ok(command)
    }
}

/// The folder with the server's programs: of the newest version, else in the path.
fn programs() -> Option<PathBuf> {
    let has_all = |folder: &PathBuf| {
        ["initdb", "postgres"]
            .iter()
            .all(|name| folder.join(name).is_file())
    };
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for (place, below) in PLACES {
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let version = name.to_string_lossy();
            let version = version.strip_prefix("pgsql-").unwrap_or(&version).parse();
            let folder = entry.path().join(below);
            if let Ok(version) = version
                && has_all(&folder)
            {
                found.push((version, folder));
            }
        }
    }
    let newest = found.into_iter().max().map(|(_, folder)| folder);
    newest.or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(has_all)
    })
}

/// A password that nobody knows.
fn secret() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}
