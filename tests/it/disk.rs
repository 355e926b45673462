//! A disk that fills up under the analyzer (Linux, root).

/// Selected by the profile `root`.
pub(crate) mod root {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use rpingmesh::time::{Clock as _, SystemClock};
    use serde_json::Value;
    use tonic::Code;

    use crate::analyzer::harness::{Incarnation, batch, report, upload};

    /// Room for a small database and its log.
    const SIZE: &str = "size=4m";
    const PATIENCE: Duration = Duration::from_secs(30);

    /// A small file system of its own, unmounted with this value.
    pub(crate) struct Disk {
        folder: tempfile::TempDir,
    }

    impl Disk {
        /// `size` as in the options of mount.
        pub(crate) fn mount(size: &str) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let status = Command::new("mount")
                .args(["-t", "tmpfs", "-o", size, "tmpfs"])
                .arg(folder.path())
                .status()
                .expect("mount runs");
            assert!(status.success(), "mount needs root");
            Self { folder }
        }

        pub(crate) fn path(&self) -> &Path {
            self.folder.path()
        }

        /// Takes all the space that is left.
        pub(crate) fn fill(&self) -> PathBuf {
            let path = self.path().join("filler");
            let mut file = fs::File::create(&path).expect("a file");
            let error = std::io::copy(&mut std::io::repeat(1), &mut file).expect_err("it is small");
            assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
            path
        }
    }

    impl Drop for Disk {
        fn drop(&mut self) {
            // A test that has failed may still have files open there.
            let _ = Command::new("umount").arg("-l").arg(self.path()).status();
        }
    }

    /// Results of a second that lies in a slot which is over.
    fn recent(sequence: u64, sent: u64) -> rpingmesh::rpc::v1::ResultBatch {
        let now = SystemClock.wall().nanos();
        rpingmesh::rpc::v1::ResultBatch {
            start_unix_ns: now - 11_000_000_000,
            end_unix_ns: now - 10_000_000_000,
            ..batch(sequence, 1, vec![report(1, 3, sent, 0)])
        }
    }

    async fn wait(analyzer: &Incarnation, what: &str, content: impl Fn(&Value) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let (_, status) = analyzer.get("/api/v1/status").await;
            if content(&status) {
                return;
            }
            assert!(Instant::now() < end, "{what}: {status:#}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    #[test]
    #[ignore = "needs root on Linux: cargo xtask test --only root"]
    fn a_full_disk_loses_nothing_and_says_what_is_wrong() {
        let disk = Disk::mount(SIZE);
        let analyzer = Incarnation::start(disk.path(), Arc::new(SystemClock));
        let filler = analyzer.run(async {
            let (acknowledged, end) = upload(&analyzer, 7, vec![recent(1, 100)]).await;
            assert_eq!((acknowledged, end), (1, None));
            let filler = disk.fill();
            // Batches are refused with a reason, and not counted.
            let more = (2..=5).map(|sequence| recent(sequence, 10)).collect();
            let (acknowledged, end) = upload(&analyzer, 7, more).await;
            assert_eq!((acknowledged, end), (1, Some(Code::ResourceExhausted)));
            assert_eq!(analyzer.total_sent().await, 100);
            // It lives, and is not ready.
            assert_eq!(analyzer.get("/healthz").await.0, 200);
            let (status, answer) = analyzer.get("/readyz").await;
            assert_eq!((status, &answer["status"]), (503, &"not ready".into()));
            // The agent falls silent, and the store takes nothing: two incidents that cannot be stored; people see them all the
            // same.
            wait(&analyzer, "incidents that cannot be stored", |status| {
                status["incidents"]["waiting_for_store"] == 2 && status["incidents"]["open"] == 2
            })
            .await;
            let metrics = analyzer.get_text("/metrics").await;
            let failures = metrics
                .lines()
                .find_map(|line| line.strip_prefix("rpingmesh_analyzer_store_failures_total "));
            assert!(failures.is_some_and(|count| count != "0"), "{metrics}");
            filler
        });
        fs::remove_file(filler).expect("removed");
        analyzer.run(async {
            wait(&analyzer, "the incident is stored", |status| {
                status["incidents"]["waiting_for_store"] == 0
            })
            .await;
            // The agent begins again behind what was acknowledged.
            let rest = (2..=5).map(|sequence| recent(sequence, 10)).collect();
            assert_eq!(upload(&analyzer, 7, rest).await, (5, None));
            assert_eq!(analyzer.total_sent().await, 140);
            assert_eq!(analyzer.get("/readyz").await.0, 200);
        });
        analyzer.kill();
        let again = Incarnation::start(disk.path(), Arc::new(SystemClock));
        again.run(async {
            assert_eq!(again.total_sent().await, 140);
            let (_, answer) = again.get("/api/v1/incidents").await;
            let incidents = answer["incidents"].as_array().expect("a list");
            for category in ["agent_silent", "monitoring_store"] {
                let is_known = incidents.iter().any(|one| one["category"] == category);
                assert!(is_known, "{category}: {answer:#}");
            }
        });
        again.kill();
    }
}
