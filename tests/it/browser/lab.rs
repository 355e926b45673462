//! A lab with a fault and a service, for the tests in a browser.

use std::net::SocketAddr;
use std::time::Duration;

use rpingmesh::config::HumanDuration;
use rpingmesh::config::lab::LabSettings;
use rpingmesh::fabric::scenario::ServiceConnection;
use rpingmesh::id::FlowLabel;
use rpingmesh::lab::plan::LabPlan;
use rpingmesh::lab::run::run;
use rpingmesh::lab::show::Line;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A lab whose dashboard can be looked at until it is stopped.
pub(super) struct Lab {
    web: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Lab {
    /// When its paths are traced, every packet from spine1 to tor3 gets one chance in four to be lost; a service's connections
    /// cross that link.
    pub(super) async fn start() -> Self {
        let settings = LabSettings {
            spines: Some(4),
            tors: Some(8),
            hosts: Some(2),
            rnics: Some(1.into()),
            duration: Some(HumanDuration(Duration::from_mins(5))),
            faults: vec!["link spine1->tor3 loss=25% at=20s".to_owned()],
            ..LabSettings::default()
        };
        let mut plan = LabPlan::new(settings).expect("a lab");
        for label in 1..=16 {
            plan.scenario.services.push(ServiceConnection {
                name: "train".into(),
                from: "host0/0".to_owned(),
                to: "host6/0".to_owned(),
                flow_label: FlowLabel::new(label).expect("20 bits"),
            });
        }
        let stop = CancellationToken::new();
        let (started, web) = oneshot::channel();
        let mut started = Some(started);
        let token = stop.clone();
        let task = tokio::spawn(async move {
            let show = |line: Line<'_>| {
                if let Line::Started(line) = line
                    && let Some(started) = started.take()
                {
                    started.send(line.web).expect("somebody waits");
                }
            };
            run(&plan, token, show).await.expect("a run");
        });
        let web = web.await.expect("the lab starts");
        Self { web, stop, task }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.web)
    }

    pub(super) async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("the lab ends");
    }
}
