//! A database of two members that Patroni watches over, with etcd and haproxy, each on a host of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio_postgres::{Client, NoTls};

use super::fleet::until;
use crate::external::postgres::cluster::{PASSWORD, USER, programs};
use crate::netns::star::Star;

const PATIENCE: Duration = Duration::from_mins(1);
/// Of the two members, and what they need.
pub(super) const HOSTS: [&str; 4] = ["db1", "db2", "etcd", "lb"];
const MEMBERS: [&str; 2] = ["db1", "db2"];
/// Ports: of the members' servers, of Patroni, of haproxy.
const SERVER: u16 = 5432;
const WATCHER: u16 = 8008;
const PROXY: u16 = 5000;

/// A program of others on a host; everything that it has started ends with it, at once.
struct Daemon(Child);

impl Daemon {
    fn start(star: &Star, host: &str, log: &Path, words: &[&str]) -> Self {
        let log = std::fs::File::create(log).expect("a file");
        let space = star.space(host);
        let child = Command::new("ip")
            .args(["netns", "exec", &space])
            // As when the host loses power: whatever was started goes with the first process.
            .args(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"])
            // PostgreSQL refuses root.
            .args([
                "unshare",
                "--user",
                "--map-user=1000",
                "--map-group=1000",
                "--",
            ])
            .args(words)
            // etcd 3.4 wants to be told that arm64 is meant.
            .env("ETCD_UNSUPPORTED_ARCH", "arm64")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("ip runs");
        Self(child)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The database.
pub(super) struct Patroni {
    members: [Option<Daemon>; 2],
    _others: [Daemon; 2],
    folder: tempfile::TempDir,
    addresses: [String; 2],
    proxy: String,
}

impl Patroni {
    /// Starts everything, and waits for a primary and a standby that confirms each commit.
    pub(super) async fn start(star: &Star) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("password"), PASSWORD).expect("a file");
        let others = [etcd(star, folder.path()), haproxy(star, folder.path())];
        let mut patroni = Self {
            members: [None, None],
            _others: others,
            addresses: MEMBERS.map(|host| star.address(host)),
            proxy: star.address("lb"),
            folder,
        };
        patroni.start_member(star, 0);
        patroni.is(star, 0, "primary").await;
        patroni.start_member(star, 1);
        patroni.is(star, 1, "synchronous").await;
        let client = patroni.client(0, "postgres").await;
        client
            .batch_execute("CREATE DATABASE rpingmesh")
            .await
            .expect("made");
        patroni
    }

    /// The host of a member.
    pub(super) const fn host(number: usize) -> &'static str {
        MEMBERS[number]
    }

    /// Starts a member unless it runs.
    pub(super) fn start_member(&mut self, star: &Star, number: usize) {
        if self.members[number].is_some() {
            return;
        }
        let folder = self.member(number);
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("patroni.json");
        let configuration = configuration(star, MEMBERS[number], &folder);
        std::fs::write(&file, configuration.to_string()).expect("a file");
        let words = ["/usr/bin/patroni", file.to_str().expect("text")];
        let daemon = Daemon::start(star, MEMBERS[number], &folder.join("log"), &words);
        self.members[number] = Some(daemon);
    }

    /// Kills a member: PostgreSQL and Patroni.
    pub(super) fn kill(&mut self, number: usize) {
        self.members[number] = None;
    }

    /// Waits until Patroni says that a member is this.
    pub(super) async fn is(&self, star: &Star, number: usize, what: &str) -> Duration {
        until(what, PATIENCE, async || self.says(star, number, what)).await
    }

    /// Whether Patroni says that a member is this.
    pub(super) fn says(&self, star: &Star, number: usize, what: &str) -> Result<(), String> {
        let address = format!("{}:{WATCHER}", self.addresses[number]);
        let answer = star.get(&address, &format!("/{what}")).unwrap_or_default();
        let is_so = answer
            .lines()
            .next()
            .is_some_and(|line| line.contains(" 200 "));
        is_so.then_some(()).ok_or_else(|| {
            let log = std::fs::read_to_string(self.member(number).join("log"));
            format!("{}: {answer}: {}", MEMBERS[number], log.unwrap_or_default())
        })
    }

    fn member(&self, number: usize) -> PathBuf {
        self.folder.path().join(MEMBERS[number])
    }

    /// The store behind haproxy.
    pub(super) fn proxied(&self) -> String {
        self.store(&format!("{}:{PROXY}", self.proxy))
    }

    /// The store as the members themselves.
    pub(super) fn several(&self) -> String {
        let hosts = self
            .addresses
            .each_ref()
            .map(|address| format!("{address}:{SERVER}"));
        self.store(&hosts.join(","))
    }

    fn store(&self, hosts: &str) -> String {
        let password = self.folder.path().join("password");
        let password = password.display();
        format!(
            "postgres://{USER}@{hosts}/rpingmesh?fleet=east&password_file={password}&sslmode=disable"
        )
    }

    /// A connection of the owner to one member, beside the network.
    pub(super) async fn client(&self, number: usize, database: &str) -> Client {
        let mut config = tokio_postgres::Config::new();
        config.user(USER).dbname(database).port(SERVER);
        config.host_path(self.member(number));
        let (client, connection) = config.connect(NoTls).await.expect("a connection");
        tokio::spawn(connection);
        client
    }
}

fn etcd(star: &Star, folder: &Path) -> Daemon {
    let address = star.address("etcd");
    let (client, peer) = (
        format!("http://{address}:2379"),
        format!("http://{address}:2380"),
    );
    let data = folder.join("etcd");
    let words = [
        "/usr/bin/etcd",
        "--data-dir",
        data.to_str().expect("text"),
        "--listen-client-urls",
        &client,
        "--advertise-client-urls",
        &client,
        "--listen-peer-urls",
        &peer,
        "--initial-advertise-peer-urls",
        &peer,
        "--initial-cluster",
        &format!("default={peer}"),
    ];
    Daemon::start(star, "etcd", &folder.join("etcd.log"), &words)
}

fn haproxy(star: &Star, folder: &Path) -> Daemon {
    let members = MEMBERS.map(|host| {
        let address = star.address(host);
        format!("  server {host} {address}:{SERVER} check port {WATCHER}\n")
    });
    let text = format!(
        "defaults\n  mode tcp\n  timeout connect 2s\n  timeout client 1h\n  timeout server 1h\n  timeout check 1s\n\
         listen primary\n  bind {}:{PROXY}\n  option httpchk GET /primary\n  http-check expect status 200\n  \
         default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions\n{}",
        star.address("lb"),
        members.concat()
    );
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, text).expect("a file");
    let words = [
        "/usr/sbin/haproxy",
        "-db",
        "-f",
        file.to_str().expect("text"),
    ];
    Daemon::start(star, "lb", &folder.join("haproxy.log"), &words)
}

/// As operators write it, in JSON, which is YAML. Short times: a member that says nothing for 10 s is succeeded.
fn configuration(star: &Star, host: &str, folder: &Path) -> serde_json::Value {
    let (address, etcd) = (star.address(host), star.address("etcd"));
    let watcher = format!("{address}:{WATCHER}");
    let server = format!("{address}:{SERVER}");
    serde_json::json!({
        "scope": "rpingmesh",
        "name": host,
        "restapi": {"listen": watcher, "connect_address": watcher},
        "etcd3": {"host": format!("{etcd}:2379")},
        "bootstrap": {
            "dcs": {
                "ttl": 10, "loop_wait": 1, "retry_timeout": 3,
                "synchronous_mode": true,
                "postgresql": {"use_pg_rewind": true, "parameters": {"max_connections": 100, "wal_log_hints": "on"}},
            },
            "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "no-sync"],
        },
        "postgresql": {
            "listen": server,
            "connect_address": server,
            "data_dir": folder.join("data"),
            "bin_dir": programs(),
            "pgpass": folder.join("pgpass"),
            "pg_hba": [
                "local all all trust",
                "host replication all 10.0.0.0/8 scram-sha-256",
                "host all all 10.0.0.0/8 scram-sha-256",
            ],
            "authentication": {
                "superuser": {"username": USER, "password": PASSWORD},
                "replication": {"username": "copier", "password": PASSWORD},
            },
            "parameters": {"unix_socket_directories": folder, "fsync": "off"},
        },
    })
}
