//! The supervisor: owns the tasks of one role by name, starts them, and stops them in order.
//!
//! All roles use it: agent, controller, analyzer and lab. A role makes a [`Supervisor`], adds its [`Stage`]s in the order
//! in which they stop, and starts its tasks: consumers before producers, because a task runs from the moment of
//! [`Supervisor::spawn`].
//!
//! **Stop.** [`Supervisor::run`] waits for the stop token. Then it stops one stage after the other: it cancels the stage's
//! token and waits until all tasks of the stage have ended. All stages together have [`STOP_LIMIT`]. Each stage has a
//! reserve that no earlier stage can use up; what a stage does not need is left to the later ones. A task that has not
//! ended when the time of its stage is over is named in the log and aborted.
//!
//! **Failures.** A task that panics, fails, or ends although nobody stopped it, stops the role: all other tasks are
//! stopped in order, and [`Supervisor::run`] returns an error that names the task. The service manager starts the program
//! again, with a state that is whole. The exception is [`Supervisor::spawn_restarted`], for tasks that keep no state which
//! others rely on and that the role can do without for a moment; each use says why.
//!
//! **Dropping** a supervisor aborts all its tasks at once, in no order, and cancels the tokens of all stages.

use std::any::Any;
use std::borrow::Cow;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long all stages together may take to stop. A program has 5 s after SIGTERM; the rest is for what follows the
/// supervisor: the runtime ends, and files are closed.
pub(crate) const STOP_LIMIT: Duration = Duration::from_millis(4_500);

/// The first pause before a restarted task runs again. Each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause. A task that ran for longer than this starts with the first pause again.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// The name of a task, as logs and errors show it.
pub(crate) type TaskName = Cow<'static, str>;

/// A task ended in a way that it must not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// It panicked.
    #[error("the {role}'s task `{task}` panicked: {message}")]
    Panicked {
        /// Whose task.
        role: &'static str,
        /// Its name.
        task: TaskName,
        /// The panic's message.
        message: String,
    },
    /// It ended although nobody stopped it.
    #[error("the {role}'s task `{task}` ended although nobody stopped it")]
    EndedEarly {
        /// Whose task.
        role: &'static str,
        /// Its name.
        task: TaskName,
    },
}

/// What a task returns: nothing, or a result whose error stops the role.
pub(crate) trait Outcome<E> {
    /// As a result.
    ///
    /// # Errors
    /// The task's own.
    fn into_result(self) -> Result<(), E>;
}

impl<E> Outcome<E> for () {
    fn into_result(self) -> Result<(), E> {
        Ok(())
    }
}

impl<E> Outcome<E> for Result<(), E> {
    fn into_result(self) -> Self {
        self
    }
}

/// Tasks that stop together. Made by [`Supervisor::stage`]; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    number: usize,
    stop: CancellationToken,
}

impl Stage {
    /// Cancelled when the stage is to stop.
    pub(crate) fn token(&self) -> CancellationToken {
        self.stop.clone()
    }
}

struct Running {
    name: TaskName,
    stage: usize,
    abort: AbortHandle,
}

/// The tasks of one role. See the module.
pub(crate) struct Supervisor<E> {
    role: &'static str,
    limit: Duration,
    /// Each with its reserve, in the order of stopping.
    stages: Vec<(Stage, Duration)>,
    tasks: JoinSet<Result<(), E>>,
    running: HashMap<Id, Running>,
    all: CancellationToken,
    _stop_on_drop: DropGuard,
}

type Ended<E> = Result<(Id, Result<(), E>), JoinError>;

impl<E> Supervisor<E>
where
    E: From<TaskError> + Send + 'static,
{
    /// Without tasks. `role` is for logs and errors.
    pub(crate) fn new(role: &'static str) -> Self {
        Self::with_limit(role, STOP_LIMIT)
    }

    /// All stages together may take `limit` to stop, for roles that are a part of something else.
    pub(crate) fn with_limit(role: &'static str, limit: Duration) -> Self {
        let all = CancellationToken::new();
        Self {
            role,
            limit,
            stages: Vec::new(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            _stop_on_drop: all.clone().drop_guard(),
            all,
        }
    }

    /// Adds a stage, which stops when all tasks of the stages before it have ended. However long those take, at least
    /// `reserve` is left for this one.
    pub(crate) fn stage(&mut self, reserve: Duration) -> Stage {
        let stage = Stage {
            number: self.stages.len(),
            stop: self.all.child_token(),
        };
        self.stages.push((stage.clone(), reserve));
        stage
    }

    /// Starts a task. It ends when the stage's token is cancelled, or by itself once its inputs have ended in the course
    /// of a stop.
    pub(crate) fn spawn<F>(&mut self, stage: &Stage, name: impl Into<TaskName>, task: F)
    where
        F: Future<Output: Outcome<E>> + Send + 'static,
    {
        let abort = self.tasks.spawn(task.map(Outcome::into_result));
        self.add(stage, name.into(), &abort);
    }

    /// Starts a task that blocks, on a thread of its own. It cannot be aborted: where it ignores the stop it is named in
    /// the log and left to the end of the process.
    pub(crate) fn spawn_blocking<O: Outcome<E>>(
        &mut self,
        stage: &Stage,
        name: impl Into<TaskName>,
        task: impl FnOnce() -> O + Send + 'static,
    ) {
        let abort = self.tasks.spawn_blocking(|| task().into_result());
        self.add(stage, name.into(), &abort);
    }

    /// Starts a task that is started again after a pause when it panics or ends too early, see [`restarted`]. `make` gets
    /// the stage's token.
    pub(crate) fn spawn_restarted<F>(
        &mut self,
        stage: &Stage,
        name: impl Into<TaskName>,
        make: impl FnMut(CancellationToken) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let name = name.into();
        let task = restarted(self.role, name.clone(), stage.token(), make);
        self.spawn(stage, name, task);
    }

    fn add(&mut self, stage: &Stage, name: TaskName, abort: &AbortHandle) {
        let running = Running {
            name,
            stage: stage.number,
            abort: abort.clone(),
        };
        self.running.insert(abort.id(), running);
    }

    /// Runs until `stop` is cancelled or a task fails, then stops all stages in order.
    ///
    /// # Errors
    /// The first failure of a task, before or during the stop; [`TaskError`] for a panic and for an early end.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), E> {
        let failed = tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            Some(ended) = self.tasks.join_next_with_id() => self.ended_early(ended),
        };
        let stopped = self.stop_all().await;
        failed.and(stopped)
    }

    fn ended_early(&mut self, ended: Ended<E>) -> Result<(), E> {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let task = self
            .running
            .get(&id)
            .map_or(Cow::Borrowed("unknown"), |running| running.name.clone());
        self.ended(ended)?;
        let role = self.role;
        Err(TaskError::EndedEarly { role, task }.into())
    }

    async fn stop_all(&mut self) -> Result<(), E> {
        let began = Instant::now();
        let mut result = Ok(());
        for number in 0..self.stages.len() {
            let later: Duration = self.stages[number + 1..]
                .iter()
                .map(|(_, reserve)| *reserve)
                .sum();
            self.stages[number].0.stop.cancel();
            let deadline = began + self.limit.saturating_sub(later);
            result = result.and(self.wait_for_stage(number, deadline).await);
        }
        result
    }

    async fn wait_for_stage(&mut self, stage: usize, deadline: Instant) -> Result<(), E> {
        let mut result = Ok(());
        while self.running.values().any(|task| task.stage == stage) {
            let next = self.tasks.join_next_with_id();
            match tokio::time::timeout_at(deadline, next).await {
                Ok(Some(ended)) => result = result.and(self.ended(ended)),
                Ok(None) => break,
                Err(_) => {
                    self.abort_stage(stage);
                    break;
                }
            }
        }
        result
    }

    /// What has become of a task that has ended.
    fn ended(&mut self, ended: Ended<E>) -> Result<(), E> {
        match ended {
            Ok((id, result)) => {
                self.running.remove(&id);
                result
            }
            Err(error) => {
                let running = self.running.remove(&error.id());
                match (running, error.try_into_panic()) {
                    (Some(running), Ok(payload)) => Err(TaskError::Panicked {
                        role: self.role,
                        task: running.name,
                        message: message(payload.as_ref()),
                    }
                    .into()),
                    // It was aborted here.
                    (None, _) | (_, Err(_)) => Ok(()),
                }
            }
        }
    }

    fn abort_stage(&mut self, stage: usize) {
        let role = self.role;
        let late = self.running.extract_if(|_, running| running.stage == stage);
        for (_, running) in late {
            tracing::warn!(role, task = %running.name, "the task has not stopped in time and is aborted");
            running.abort.abort();
        }
    }
}

/// Runs the tasks that `make` makes, one after the other, until `stop` is cancelled. A task that panics, or ends although
/// nobody stopped it, is named in the log and started again after a pause that grows from 1 s to 1 min.
pub(crate) async fn restarted<F>(
    role: &'static str,
    name: TaskName,
    stop: CancellationToken,
    mut make: impl FnMut(CancellationToken) -> F,
) where
    F: Future<Output = ()>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        let task = async { make(stop.clone()).await };
        let ended = AssertUnwindSafe(task).catch_unwind().await;
        let error = match ended {
            Ok(()) if stop.is_cancelled() => return,
            Ok(()) => TaskError::EndedEarly {
                role,
                task: name.clone(),
            },
            Err(payload) => TaskError::Panicked {
                role,
                task: name.clone(),
                message: message(payload.as_ref()),
            },
        };
        if began.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        tracing::error!(%error, restart_in = ?pause, "a task has failed and will be started again");
        let pausing = tokio::time::sleep(pause);
        if stop.run_until_cancelled(pausing).await.is_none() {
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// A panic's message.
fn message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "without a message".to_owned()
    }
}

#[cfg(test)]
mod tests;
