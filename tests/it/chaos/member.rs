//! One agent of the simulation, with its disk, its links and its account.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rpingmesh::agent::SPOOL_FOLDER;
use rpingmesh::config::agent::{AgentConfig, AgentSettings};
use rpingmesh::fabric::scenario::Server;
use rpingmesh::fabric::topology::RnicId;
use tokio::sync::watch;

use super::account::Account;
use super::files;
use super::link::Link;
use super::plan::Found;
use crate::support::virtual_host::Host;

/// One agent with what it stands on.
pub(super) struct Member {
    pub(super) rnic: RnicId,
    pub(super) config: AgentConfig,
    controller: Link,
    pub(super) analyzer: Link,
    /// `None` while it is dead.
    pub(super) host: Option<Host>,
    /// When it is started again, in seconds.
    pub(super) back: Option<u64>,
    /// Its disk takes nothing.
    pub(super) disk_fails: bool,
    pub(super) account: Account,
}

impl Member {
    /// An agent that does not run yet, for an RNIC of a host.
    pub(super) async fn new(
        rnic: RnicId,
        (host, tor): (&str, &str),
        [controller, analyzer]: [&watch::Sender<Option<SocketAddr>>; 2],
        folder: &Path,
    ) -> Self {
        let controller = Link::new(controller.subscribe()).await;
        let analyzer = Link::new(analyzer.subscribe()).await;
        let settings: AgentSettings = toml::from_str(&format!(
            "host = '{host}'\ncontroller = 'http://{}'\nanalyzer = 'http://{}'\ntor = '{tor}'\nstate_dir = '{}'",
            controller.address,
            analyzer.address,
            folder.join(host).display()
        ))
        .expect("settings");
        std::fs::create_dir_all(folder.join(host)).expect("a folder");
        Self {
            rnic,
            config: settings.validate().expect("valid"),
            controller,
            analyzer,
            host: None,
            back: None,
            disk_fails: false,
            account: Account::default(),
        }
    }

    pub(super) fn state(&self) -> &Path {
        &self.config.settings.state_dir
    }

    /// Where its files are while the disk takes nothing.
    fn hidden(&self) -> PathBuf {
        self.state().with_extension("hidden")
    }

    fn spool(&self) -> PathBuf {
        if self.disk_fails {
            self.hidden().join(SPOOL_FOLDER)
        } else {
            self.state().join(SPOOL_FOLDER)
        }
    }

    fn copy(&self) -> PathBuf {
        self.state().with_extension("copy")
    }

    pub(super) fn link(&self, server: Server) -> &Link {
        match server {
            Server::Controller => &self.controller,
            Server::Analyzer => &self.analyzer,
        }
    }

    /// A file in the place of the state folder fails for every user, root too.
    pub(super) fn fail_disk(&mut self) {
        if !self.disk_fails {
            std::fs::rename(self.state(), self.hidden()).expect("renamed");
            std::fs::write(self.state(), "").expect("a file");
            self.disk_fails = true;
            let newest = self.account.newest();
            self.account.on_disk_until.get_or_insert(newest);
        }
    }

    pub(super) fn mend_disk(&mut self) {
        if self.disk_fails {
            files::remove(self.state());
            std::fs::rename(self.hidden(), self.state()).expect("renamed");
            self.disk_fails = false;
        }
    }

    pub(super) async fn flush(&mut self, now: i64) {
        let Some(host) = &mut self.host else { return };
        host.collect.flush().await;
        self.account.batch(now);
        if !self.disk_fails && host.spool.status().trouble.is_none() {
            self.account.on_disk_until = None;
        }
    }

    /// What this run has said that it has lost.
    pub(super) fn said(host: &Host) -> u64 {
        host.health.borrow().batches_dropped + host.spool.status().damaged
    }

    pub(super) async fn kill(&mut self, found: Found) {
        let Some(host) = self.host.take() else { return };
        self.account.killed(Self::said(&host));
        host.kill().await;
        let spool = self.spool();
        match found {
            Found::CutOff(bytes) => {
                let before = files::spooled(&spool).await;
                files::cut_off(&spool, bytes);
                let after = files::spooled(&spool).await;
                self.account.destroy(before.difference(&after).copied());
            }
            Found::OlderCopy => {
                if let Some(until) = self.account.copied_until {
                    files::copy(&self.copy(), &spool);
                    self.account.destroy_after(until);
                }
            }
            Found::Left | Found::Copied => {}
        }
    }

    pub(super) fn copy_spool(&mut self) {
        // What is in memory only is in no copy.
        if self.account.on_disk_until.is_none() && self.host.is_some() {
            files::copy(&self.spool(), &self.copy());
            self.account.copied_until = Some(self.account.newest());
        }
    }

    pub(super) async fn waiting(&self) -> u64 {
        match &self.host {
            Some(host) => host.spool.waiting().await.expect("a spool"),
            None => 0,
        }
    }
}
