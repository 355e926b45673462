use std::io;
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;

use super::*;

/// A role's own error.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum RoleError {
    #[error("the disk is full")]
    Disk,
    #[error(transparent)]
    Task(#[from] TaskError),
}

/// What happened, in order.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn note(&self, entry: impl Into<String>) {
        self.0.lock().expect("no panic").push(entry.into());
    }

    fn entries(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }
}

/// Log lines of this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Log {
    fn begin(&self) -> tracing::subscriber::DefaultGuard {
        let subscriber = tracing_subscriber::fmt()
            .with_writer(self.clone())
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().expect("no panic").clone()).expect("UTF-8");
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}

/// Notes when it starts, when it is told to stop, and that it has ended after `takes`.
async fn worker(name: &'static str, stop: CancellationToken, takes: Duration, diary: Diary) {
    diary.note(format!("{name} runs"));
    stop.cancelled().await;
    diary.note(format!("{name} stops"));
    tokio::time::sleep(takes).await;
    diary.note(format!("{name} ended"));
}

const MOMENT: Duration = Duration::from_millis(100);

fn defect(what: &str) {
    panic!("{what}");
}

/// A role of two stages with one worker each, and a token that stops it after a moment.
fn role(diary: &Diary, takes: [Duration; 2], reserve: Duration) -> Supervisor<RoleError> {
    let mut supervisor = Supervisor::new("test");
    let probing = supervisor.stage(Duration::ZERO);
    let storing = supervisor.stage(reserve);
    let task = worker("store", storing.token(), takes[1], diary.clone());
    supervisor.spawn(&storing, "store", task);
    let task = worker("probe", probing.token(), takes[0], diary.clone());
    supervisor.spawn(&probing, "probe", task);
    supervisor
}

fn stop_in(wait: Duration) -> CancellationToken {
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        cancel.cancel();
    });
    stop
}

#[tokio::test(start_paused = true)]
async fn stages_stop_one_after_the_other() {
    let diary = Diary::default();
    let supervisor = role(&diary, [MOMENT, MOMENT], Duration::ZERO);
    assert_eq!(supervisor.run(stop_in(MOMENT)).await, Ok(()));
    assert_eq!(
        diary.entries(),
        [
            "store runs",
            "probe runs",
            "probe stops",
            "probe ended",
            "store stops",
            "store ended"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ignores_the_stop_is_named_and_aborted_and_leaves_the_others_their_time() {
    let (diary, log) = (Diary::default(), Log::default());
    let _guard = log.begin();
    let reserve = Duration::from_secs(1);
    let supervisor = role(
        &diary,
        [Duration::MAX, reserve.checked_sub(MOMENT).unwrap()],
        reserve,
    );
    let stop = CancellationToken::new();
    stop.cancel();
    let began = Instant::now();
    assert_eq!(supervisor.run(stop).await, Ok(()));
    // The first stage used up all but the second's reserve, of which the second needed all but a moment.
    assert_eq!(began.elapsed(), STOP_LIMIT.checked_sub(MOMENT).unwrap());
    assert_eq!(
        diary.entries().last().map(String::as_str),
        Some("store ended")
    );
    assert_eq!(
        log.lines(),
        [r#"WARN the task has not stopped in time and is aborted role="test" task=probe"#]
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_stops_the_role_in_order_and_names_the_task() {
    let diary = Diary::default();
    let mut supervisor = role(&diary, [MOMENT, MOMENT], Duration::ZERO);
    let stage = supervisor.stage(Duration::ZERO);
    supervisor.spawn(&stage, "judge", async {
        tokio::time::sleep(MOMENT).await;
        defect("index 7 is out of bounds");
    });
    let error = supervisor.run(CancellationToken::new()).await;
    assert_eq!(
        error.map_err(|error| error.to_string()),
        Err("the test's task `judge` panicked: index 7 is out of bounds".to_owned())
    );
    assert_eq!(
        diary.entries()[2..],
        ["probe stops", "probe ended", "store stops", "store ended"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_during_the_stop_is_an_error_too() {
    let mut supervisor: Supervisor<RoleError> = Supervisor::new("test");
    let stage = supervisor.stage(Duration::ZERO);
    let stop = stage.token();
    supervisor.spawn(&stage, "collector", async move {
        stop.cancelled().await;
        defect("a defect");
    });
    let error = supervisor.run(stop_in(MOMENT)).await;
    assert_eq!(
        error.map_err(|error| error.to_string()),
        Err("the test's task `collector` panicked: a defect".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_may_end_by_itself_only_when_the_role_stops() {
    let early = |stopping: bool| async move {
        let mut supervisor: Supervisor<RoleError> = Supervisor::new("test");
        let first = supervisor.stage(Duration::ZERO);
        let second = supervisor.stage(Duration::ZERO);
        // The second stage's task ends because its input ends, before it is told to.
        let (input, mut queue) = tokio::sync::mpsc::channel::<()>(1);
        let stop = first.token();
        supervisor.spawn(&second, "intake", async move {
            while queue.recv().await.is_some() {}
        });
        supervisor.spawn(&first, "server", async move {
            if stopping {
                stop.cancelled().await;
            } else {
                drop(input);
                std::future::pending::<()>().await;
            }
        });
        supervisor.run(stop_in(MOMENT)).await
    };
    assert_eq!(early(true).await, Ok(()));
    assert_eq!(
        early(false).await.map_err(|error| error.to_string()),
        Err("the test's task `intake` ended although nobody stopped it".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_task_is_the_roles_error() {
    let diary = Diary::default();
    let mut supervisor = role(&diary, [MOMENT, MOMENT], Duration::ZERO);
    let stage = supervisor.stage(Duration::ZERO);
    supervisor.spawn(&stage, "journal", async { Err(RoleError::Disk) });
    assert_eq!(
        supervisor.run(CancellationToken::new()).await,
        Err(RoleError::Disk)
    );
    assert_eq!(diary.entries().len(), 6, "{:?}", diary.entries());
}

#[tokio::test(start_paused = true)]
async fn a_restarted_task_runs_again_after_growing_pauses() {
    let (diary, log) = (Diary::default(), Log::default());
    let _guard = log.begin();
    let mut supervisor: Supervisor<RoleError> = Supervisor::new("test");
    let stage = supervisor.stage(Duration::ZERO);
    let began = Instant::now();
    let mut runs = 0;
    supervisor.spawn_restarted(&stage, "counters", {
        let diary = diary.clone();
        move |stop| {
            runs += 1;
            diary.note(format!("run {runs} after {:?}", began.elapsed()));
            let run = runs;
            async move {
                match run {
                    1 => panic!("a bad file"),
                    2 => {}
                    _ => stop.cancelled().await,
                }
            }
        }
    });
    assert_eq!(
        supervisor.run(stop_in(Duration::from_secs(10))).await,
        Ok(())
    );
    assert_eq!(
        diary.entries(),
        ["run 1 after 0ns", "run 2 after 1s", "run 3 after 3s"]
    );
    assert_eq!(
        log.lines(),
        [
            "ERROR a task has failed and will be started again error=the test's task `counters` panicked: a bad file \
             restart_in=1s",
            "ERROR a task has failed and will be started again error=the test's task `counters` ended although nobody \
             stopped it restart_in=2s"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_dropped_supervisor_leaves_nothing_running() {
    let diary = Diary::default();
    let mut supervisor = role(&diary, [MOMENT, MOMENT], Duration::ZERO);
    let stage = supervisor.stage(Duration::ZERO);
    let (alive, mut gone) = tokio::sync::mpsc::channel::<()>(1);
    supervisor.spawn(&stage, "holder", async move {
        let _alive = alive;
        std::future::pending::<()>().await;
    });
    tokio::task::yield_now().await;
    let token = stage.token();
    drop(supervisor);
    assert!(token.is_cancelled());
    assert_eq!(gone.recv().await, None);
    tokio::time::sleep(MOMENT * 10).await;
    // Aborted, not stopped.
    assert_eq!(diary.entries(), ["store runs", "probe runs"]);
}

#[tokio::test]
async fn a_thread_that_ignores_the_stop_does_not_hold_it_up() {
    let log = Log::default();
    let _guard = log.begin();
    let mut supervisor: Supervisor<RoleError> = Supervisor::with_limit("test", MOMENT);
    let stage = supervisor.stage(Duration::ZERO);
    let (release, wait) = std::sync::mpsc::channel::<()>();
    supervisor.spawn_blocking(&stage, "state thread", move || {
        // Until the test is over.
        let _ = wait.recv();
    });
    assert_eq!(supervisor.run(stop_in(Duration::ZERO)).await, Ok(()));
    assert_eq!(
        log.lines(),
        [r#"WARN the task has not stopped in time and is aborted role="test" task=state thread"#]
    );
    drop(release);
}
