//! Controller and analyzer as the simulation runs them: on a port that the system chooses anew at each start, on a disk that can
//! fail.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rpingmesh::analyzer::Analyzer;
use rpingmesh::config::analyzer::AnalyzerSettings;
use rpingmesh::config::controller::ControllerSettings;
use rpingmesh::controller::Controller;
use rpingmesh::events::Publisher;
use rpingmesh::fabric::scenario::Server;
use rpingmesh::store::StoreError;
use rpingmesh::store::journal::Journal;
use rpingmesh::store::open::{self, Stores};
use rpingmesh::store::registry::Registry;
use rpingmesh::time::Clock;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::gate::{Disk, OnDisk, Writes};
use super::plan::Found;
use super::site::DATABASE;
use super::{breathe, files};

/// Looks at a database that a killed process may still be closing.
const LOOKS: u32 = 1_000;
/// Few probes: what is counted is whether they are all there.
const SETTINGS: &str = "[registry]\nlease = '5m'\n\
    [pinglist]\ntor_mesh_rate = 6.0\nlink_rate = 4.0\nparallel_paths = 2";

/// One of the two.
pub(super) struct Place {
    which: Server,
    pub(super) folder: PathBuf,
    pub(super) disk: Disk,
    running: Option<JoinHandle<()>>,
    /// Where it is; `None` while it is not.
    pub(super) address: watch::Sender<Option<SocketAddr>>,
    /// The analyzer's API.
    pub(super) web: Option<SocketAddr>,
    /// When it is started again, in seconds.
    pub(super) back: Option<u64>,
    has_copy: bool,
}

impl Place {
    pub(super) fn new(which: Server, folder: &Path) -> Self {
        let folder = folder.join(format!("{which:?}"));
        std::fs::create_dir_all(&folder).expect("a folder");
        Self {
            which,
            folder,
            disk: Disk::new(),
            running: None,
            address: watch::Sender::new(None),
            web: None,
            back: None,
            has_copy: false,
        }
    }

    pub(super) fn is_there(&self) -> bool {
        self.running.is_some()
    }

    /// Whether it takes what it is sent.
    pub(super) fn works(&self) -> bool {
        self.is_there() && self.disk.works()
    }

    pub(super) fn set(&self, writes: Writes) {
        self.disk.set(writes);
    }

    /// Starts it; a process before it may still be closing the database.
    pub(super) async fn start(&mut self, clock: &Arc<dyn Clock>) {
        self.back = None;
        for _ in 0..LOOKS {
            let started = match self.which {
                Server::Analyzer => self.analyzer(clock).await,
                Server::Controller => self.controller(clock).await,
            };
            match started {
                Ok(()) => return,
                Err(StoreError::Busy { .. }) => breathe(Duration::from_millis(5)).await,
                Err(error) => panic!("the {:?} cannot start: {error:?}", self.which),
            }
        }
        panic!("the database of the {:?} stays locked", self.which);
    }

    async fn analyzer(&mut self, clock: &Arc<dyn Clock>) -> Result<(), StoreError> {
        let settings: AnalyzerSettings = toml::from_str(&format!(
            "listen = '127.0.0.1:0'\nweb = '127.0.0.1:0'\nstore = 'sqlite:{}'",
            self.folder.join(DATABASE).display()
        ))
        .expect("settings");
        let config = settings.validate().expect("valid");
        let mut stores = Stores::open(&config.store).await?;
        stores.journal = Arc::new(OnDisk::<dyn Journal>(stores.journal, self.disk.clone()));
        let analyzer = Analyzer::start_on(stores, config, clock.clone(), Publisher::default())
            .await
            .expect("the analyzer starts");
        self.web = Some(analyzer.web_address());
        self.address.send_replace(Some(analyzer.grpc_address()));
        self.running = Some(tokio::spawn(async move {
            let ended = analyzer.run(CancellationToken::new()).await;
            panic!("the analyzer has ended: {ended:?}");
        }));
        Ok(())
    }

    async fn controller(&mut self, clock: &Arc<dyn Clock>) -> Result<(), StoreError> {
        let settings: ControllerSettings = toml::from_str(&format!(
            "listen = '127.0.0.1:0'\nstore = 'sqlite:{}'\n{SETTINGS}",
            self.folder.join(DATABASE).display()
        ))
        .expect("settings");
        let config = settings.validate().expect("valid");
        let registry = open::registry(&config.store).await?;
        let registry = Arc::new(OnDisk::<dyn Registry>(registry, self.disk.clone()));
        let controller = Controller::start(config, registry, clock.clone())
            .await
            .expect("the controller starts");
        self.address.send_replace(Some(controller.address()));
        self.running = Some(tokio::spawn(async move {
            let ended = controller.run(CancellationToken::new()).await;
            panic!("the controller has ended: {ended:?}");
        }));
        Ok(())
    }

    /// Ends it as SIGKILL does; false if it was not there.
    pub(super) async fn kill(&mut self) -> bool {
        let Some(running) = self.running.take() else {
            return false;
        };
        assert!(!running.is_finished(), "the {:?} has failed", self.which);
        self.address.send_replace(None);
        self.web = None;
        running.abort();
        let _ = running.await;
        true
    }

    /// What is in the place of its database at the next start. Gives what the analyzer loses by an older copy: agents and ends of
    /// intervals.
    pub(super) async fn change(&mut self, found: Found) -> Vec<(String, i64)> {
        let copy = self.folder.with_extension("copy");
        match found {
            Found::Copied => {
                self.released().await;
                files::copy(&self.folder, &copy);
                self.has_copy = true;
            }
            Found::OlderCopy if self.has_copy => {
                self.released().await;
                let mut gone = Vec::new();
                if self.which == Server::Analyzer {
                    let kept: Vec<_> = files::stored(&copy).await;
                    let kept: Vec<_> = kept.into_iter().map(|(a, end, _)| (a, end)).collect();
                    let now = files::stored(&self.folder).await.into_iter();
                    gone.extend(
                        now.map(|(a, end, _)| (a, end))
                            .filter(|b| !kept.contains(b)),
                    );
                }
                files::copy(&copy, &self.folder);
                return gone;
            }
            Found::Left | Found::OlderCopy | Found::CutOff(_) => {}
        }
        Vec::new()
    }

    /// Waits until the killed process has closed its database.
    pub(super) async fn released(&self) {
        let file = self.folder.join(DATABASE);
        for _ in 0..LOOKS {
            let is_free = match self.which {
                Server::Analyzer => is_free(Stores::open(&location(&file)).await),
                Server::Controller => is_free(open::registry(&location(&file)).await),
            };
            if is_free {
                // The connection that looked closes behind its handle.
                breathe(Duration::from_millis(5)).await;
                return;
            }
            breathe(Duration::from_millis(5)).await;
        }
        panic!("the database of the {:?} stays locked", self.which);
    }
}

fn location(file: &Path) -> rpingmesh::store::Location {
    rpingmesh::store::Location::File(file.to_owned())
}

fn is_free<T>(opened: Result<T, StoreError>) -> bool {
    match opened {
        Ok(_) => true,
        Err(StoreError::Busy { .. }) => false,
        Err(error) => panic!("a database cannot be opened: {error:?}"),
    }
}
