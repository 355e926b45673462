//! A PostgreSQL server on loopback with a temporary folder, ended with the value that holds it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rpingmesh::store::Location;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

/// How long it may take to answer, on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(50);
pub(super) const USER: &str = "ann";
pub(super) const PASSWORD: &str = "a secret that is not shown";

/// A network namespace to run in, and its address: loopback of this host otherwise.
#[derive(Clone)]
pub(super) struct Host {
    pub(super) space: String,
    pub(super) address: String,
}

/// A running server.
pub(super) struct Cluster {
    folder: TempDir,
    host: Option<Host>,
    port: u16,
    settings: Vec<String>,
    server: Child,
}

/// Who may connect over the network of namespaces.
const REMOTE: &str = "local all all trust
host all all 10.0.0.0/8 scram-sha-256
";

impl Cluster {
    /// A new server, without TLS.
    pub(super) async fn start() -> Self {
        Self::start_with(|_| Vec::new()).await
    }

    /// The same with settings, of files in its folder.
    pub(super) async fn start_with(settings: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(folder.path());
        Self::made(folder, settings, None).await
    }

    /// A new server on a host of its own.
    pub(super) async fn start_on(host: Host) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = remote(folder.path(), &host);
        Self::made(folder, settings, Some(host)).await
    }

    /// The same with its folder in another one.
    pub(super) async fn start_in(parent: &Path, host: Host) -> Self {
        let folder = tempfile::tempdir_in(parent).expect("a folder");
        let settings = remote(folder.path(), &host);
        Self::made(folder, settings, Some(host)).await
    }

    /// Whether it runs.
    pub(super) fn runs(&mut self) -> bool {
        self.server.try_wait().expect("a child").is_none()
    }

    async fn made(folder: TempDir, settings: Vec<String>, host: Option<Host>) -> Self {
        let password = folder.path().join("password");
        std::fs::write(&password, PASSWORD).expect("a file");
        let data = folder.path().join("data");
        let made = program("initdb")
            .args([
                "--no-sync",
                "--no-instructions",
                "--encoding=UTF8",
                "--locale=C",
            ])
            .args([
                "--auth-local=trust",
                "--auth-host=scram-sha-256",
                "--username",
                USER,
            ])
            .arg(format!("--pwfile={}", password.display()))
            .arg(&data)
            .output()
            .expect("initdb runs");
        let errors = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{errors}");
        Self::serving(folder, settings, host).await
    }

    async fn serving(folder: TempDir, settings: Vec<String>, host: Option<Host>) -> Self {
        let port = free_port();
        let server = serve(folder.path(), port, &settings, host.as_ref());
        let mut cluster = Self {
            folder,
            host,
            port,
            settings,
            server,
        };
        cluster.ready().await;
        cluster
    }

    /// A copy that follows it, and can be read but not changed until it is promoted.
    pub(super) async fn standby(&self) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let copied = program("pg_basebackup")
            .args(["--no-sync", "--checkpoint=fast", "--write-recovery-conf"])
            .args(["--wal-method=stream", "--username", USER])
            .arg(format!("--host={}", self.folder.path().display()))
            .arg(format!("--port={}", self.port))
            .arg("--pgdata")
            .arg(folder.path().join("data"))
            .output()
            .expect("pg_basebackup runs");
        let errors = String::from_utf8_lossy(&copied.stderr);
        assert!(copied.status.success(), "{errors}");
        Self::serving(folder, Vec::new(), None).await
    }

    /// Kills it at once, as when its host loses power.
    pub(super) fn kill(&mut self) {
        let server = rustix::process::Pid::from_child(&self.server);
        // SIGQUIT: its processes end without writing anything, and all of them have when it has.
        let _ = rustix::process::kill_process(server, rustix::process::Signal::QUIT);
        let _ = self.server.wait();
    }

    /// Ends it in order.
    pub(super) fn stop(&mut self) {
        let server = rustix::process::Pid::from_child(&self.server);
        rustix::process::kill_process(server, rustix::process::Signal::INT).expect("a signal");
        self.server.wait().expect("it ends");
    }

    /// Starts it where it was.
    pub(super) async fn start_again(&mut self) {
        self.server = serve(
            self.folder.path(),
            self.port,
            &self.settings,
            self.host.as_ref(),
        );
        self.ready().await;
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// A store in this database, with the right password.
    pub(super) fn location(&self, database: &str, parameters: &str) -> Location {
        self.url(database, parameters).parse().expect("a store")
    }

    pub(super) fn url(&self, database: &str, parameters: &str) -> String {
        let (place, password) = (self.place(), self.folder.path().join("password"));
        let password = password.display();
        let plain = if self.host.is_some() {
            "&sslmode=disable"
        } else {
            ""
        };
        format!("postgres://{USER}@{place}/{database}?{parameters}&password_file={password}{plain}")
    }

    /// Address and port.
    pub(super) fn place(&self) -> String {
        let address = self.host.as_ref().map_or("127.0.0.1", |host| &host.address);
        format!("{address}:{}", self.port)
    }

    /// Makes a database.
    pub(super) fn create(&self, database: &str) {
        self.sql("postgres", &format!("CREATE DATABASE {database}"));
    }

    /// Runs a statement as the server's owner.
    pub(super) fn sql(&self, database: &str, statement: &str) {
        let done = program("psql")
            .args([
                "--no-psqlrc",
                "--quiet",
                "--username",
                USER,
                "--dbname",
                database,
            ])
            .arg(format!("--host={}", self.folder.path().display()))
            .arg(format!("--port={}", self.port))
            .args(["--set=ON_ERROR_STOP=1", "--command", statement])
            .output()
            .expect("psql runs");
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{statement}: {errors}");
    }

    /// A connection of its owner.
    pub(super) async fn client(&self, database: &str) -> Client {
        self.connect(database).await.expect("a connection")
    }

    async fn connect(&self, database: &str) -> Result<Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.user(USER).dbname(database).port(self.port);
        config.host_path(self.folder.path());
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    async fn ready(&mut self) {
        let end = Instant::now() + PATIENCE;
        while let Err(error) = self.connect("postgres").await {
            let ended = self.server.try_wait().expect("a child");
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(ended.is_none(), "it ended: {log}");
            assert!(Instant::now() < end, "{error}: {log}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Free now: whoever takes it meanwhile makes the start fail, and the log say so.
fn free_port() -> u16 {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    port.expect("a port").port()
}

fn serve(folder: &Path, port: u16, settings: &[String], host: Option<&Host>) -> Child {
    let log = std::fs::File::create(folder.join("log")).expect("a file");
    program_on(host, "postgres")
        .arg("-D")
        .arg(folder.join("data"))
        .arg("-p")
        .arg(port.to_string())
        .args([
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "fsync=off",
            "-c",
            "max_connections=60",
        ])
        .arg("-c")
        .arg(format!("unix_socket_directories={}", folder.display()))
        .args(settings.iter().flat_map(|setting| ["-c", setting]))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("postgres runs")
}

/// Settings of a server that others reach over the network.
fn remote(folder: &Path, host: &Host) -> Vec<String> {
    let rules = folder.join("hba");
    std::fs::write(&rules, REMOTE).expect("a file");
    vec![
        format!("listen_addresses={}", host.address),
        format!("hba_file={}", rules.display()),
        "max_connections=100".to_owned(),
    ]
}

fn program(name: &str) -> Command {
    program_on(None, name)
}

/// The folder with the server's programs, of the newest version that is installed.
pub(super) fn programs() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib/postgresql");
    let folders = folders.unwrap_or_else(|error| {
        panic!("/usr/lib/postgresql: {error}; `cargo xtask test --only packages` installs it")
    });
    let newest = folders
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|path| path.join("postgres").is_file())
        .max();
    newest.expect("no server in /usr/lib/postgresql")
}

/// One of them, as an ordinary user, for they refuse root.
pub(super) fn program_on(host: Option<&Host>, name: &str) -> Command {
    let path = programs().join(name);
    let mut words: Vec<&std::ffi::OsStr> = Vec::new();
    if let Some(host) = host {
        words.extend(["ip", "netns", "exec", &host.space].map(AsRef::<std::ffi::OsStr>::as_ref));
    }
    if rustix::process::geteuid().is_root() {
        let user = [
            "unshare",
            "--user",
            "--map-user=1000",
            "--map-group=1000",
            "--",
        ];
        words.extend(user.map(AsRef::<std::ffi::OsStr>::as_ref));
    }
    words.push(path.as_os_str());
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}
