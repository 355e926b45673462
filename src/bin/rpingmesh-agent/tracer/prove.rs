//! Has a queue pair made by the agent itself and compares what the attached programs tell of it: see
//! [`proof`](rpingmesh::service::proof).
//!
//! The queue pair is made in a thread of its own, because a driver may take its time, and because events are told apart by the
//! thread's name. Events of others that come meanwhile are given back.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use aya::maps::{MapData, RingBuf};
use rpingmesh::service::proof::{Proof, Specimen, THREAD_PREFIX, Verdict};
use rpingmesh::service::trace::{UNPROVED, Unavailable};
use rpingmesh_ebpf_event::QpEvent;

use super::attach::Programs;
use super::ring::{drain, wait};
use super::tally::Tally;

/// Makes a queue pair and destroys it, in the thread that calls it.
pub(crate) type Prover = Arc<dyn Fn() -> Result<Specimen, String> + Send + Sync>;

/// How long a driver may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the last event may take after the queue pair is gone: the ring is written before the call returns.
const SETTLED: Duration = Duration::from_millis(200);

/// How often is looked.
const LOOK: Duration = Duration::from_millis(2);

/// What came of it.
pub(super) struct Shown {
    /// Why nothing was shown although the programs may be believed; `None` where they were right.
    pub(super) unproved: Option<String>,
    /// Events of others.
    pub(super) others: Vec<QpEvent>,
}

/// Whether the programs may be believed.
///
/// # Errors
/// [`Unavailable`]: they were wrong, or it had to be shown and could not.
pub(super) fn prove(
    programs: &Programs,
    ring: &mut RingBuf<MapData>,
    tally: &mut Tally,
    prover: &Prover,
) -> Result<Shown, Unavailable> {
    let (verdict, others) = judge(programs, ring, tally, prover);
    let unproved = match (verdict, &programs.doubt) {
        (Verdict::Contradicted(what), _) => return Err(Unavailable::Contradicted(what)),
        (Verdict::NotProvable(why), Some(doubt)) => return Err(in_doubt(doubt, &why)),
        (Verdict::NotProvable(why), None) => Some(why),
        (Verdict::Proved, _) => None,
    };
    tracing::debug!(?unproved, "compared with a queue pair of the agent's own");
    Ok(Shown { unproved, others })
}

fn in_doubt(doubt: &Unavailable, reason: &str) -> Unavailable {
    match doubt {
        Unavailable::ForeignIbCore { why } => Unavailable::ForeignIbCore {
            why: format!("{why}; {UNPROVED}: {reason}"),
        },
        other => other.clone(),
    }
}

fn judge(
    programs: &Programs,
    ring: &mut RingBuf<MapData>,
    tally: &mut Tally,
    prover: &Prover,
) -> (Verdict, Vec<QpEvent>) {
    let name = format!(
        "{THREAD_PREFIX}{:04x}",
        RandomState::new().hash_one(0) & 0xffff
    );
    let mut proof = Proof::new(&name, &programs.unseen);
    let mut others = Vec::new();
    let before = (programs.counts(), programs.passed_over());
    let made = match start(name, prover) {
        Ok(result) => await_result(&result, || {
            wait(ring, LOOK);
            drain(ring, usize::MAX, tally, |event| {
                proof.take(&event);
                others.push(event);
            });
            proof.is_complete()
        }),
        Err(error) => Err(format!("there is no thread for it: {error}")),
    };
    let (counts, passed_over) = (programs.counts(), programs.passed_over());
    let lost = (counts.ring_full, counts.calls_full, passed_over)
        != (before.0.ring_full, before.0.calls_full, before.1);
    (proof.judge(made, lost), others)
}

fn start(name: String, prover: &Prover) -> std::io::Result<Receiver<Result<Specimen, String>>> {
    let (sender, result) = channel();
    let prover = Arc::clone(prover);
    std::thread::Builder::new().name(name).spawn(move || {
        // Nobody may wait any more.
        let _ = sender.send(prover());
    })?;
    Ok(result)
}

/// Waits for the queue pair and for its last event; `look` says whether that came.
fn await_result(
    result: &Receiver<Result<Specimen, String>>,
    mut look: impl FnMut() -> bool,
) -> Result<Specimen, String> {
    let began = Instant::now();
    let made = loop {
        look();
        match result.try_recv() {
            Ok(made) => break made,
            Err(TryRecvError::Disconnected) => return Err("its thread has ended".to_owned()),
            Err(TryRecvError::Empty) if began.elapsed() >= PATIENCE => {
                return Err(format!("the driver took longer than {PATIENCE:?}"));
            }
            Err(TryRecvError::Empty) => {}
        }
    };
    let gone = Instant::now();
    while !look() && made.is_ok() && gone.elapsed() < SETTLED {}
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specimen() -> Specimen {
        Specimen {
            device: "rxe0".to_owned(),
            qpn: 17,
            port: 1,
            gid: "10.0.0.1".parse().expect("a GID"),
            gid_index: 1,
            flow_label: 1,
            traffic_class: 0,
            refused: None,
        }
    }

    fn run(prover: &Prover, mut looks: u32) -> (Result<Specimen, String>, u32) {
        let result = start("rpm-proof-test".to_owned(), prover).expect("a thread");
        let made = await_result(&result, || {
            std::thread::sleep(Duration::from_millis(1));
            looks = looks.saturating_sub(1);
            looks == 0
        });
        (made, looks)
    }

    #[test]
    fn the_queue_pair_is_made_in_a_thread_of_its_name() {
        let named: Prover = Arc::new(|| {
            let name = std::thread::current().name().map(str::to_owned);
            match name.as_deref() {
                Some("rpm-proof-test") => Ok(specimen()),
                other => Err(format!("{other:?}")),
            }
        });
        // The last event comes some time later; or never, which ends too.
        assert_eq!(run(&named, 20), (Ok(specimen()), 0));
        assert_eq!(run(&named, u32::MAX).0, Ok(specimen()));
    }

    #[test]
    fn what_cannot_be_made_says_why() {
        let none: Prover = Arc::new(|| Err("no device".to_owned()));
        assert_eq!(run(&none, 5).0, Err("no device".to_owned()));
        let panics: Prover = Arc::new(|| panic!("on purpose"));
        assert_eq!(run(&panics, 5).0, Err("its thread has ended".to_owned()));
    }

    #[test]
    fn a_foreign_core_says_what_could_not_be_shown() {
        let doubt = Unavailable::ForeignIbCore {
            why: "its taint has an O".to_owned(),
        };
        let text = in_doubt(&doubt, "no device").to_string();
        assert!(
            text.contains("has an O; what the programs read could not be compared"),
            "{text}"
        );
        assert!(text.ends_with("no device"), "{text}");
    }
}
