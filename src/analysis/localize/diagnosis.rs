//! One window's answer: components that kill paths, and components that lose probes on living ones.

use super::mixture::Mixture;
use super::posterior::Posterior;
use super::problem::{Problem, Signal};
use super::search::{
    Diagnosis, PATH_BACKGROUND, PROBE_BACKGROUND, Search, Settings, Symptom, Trials, Work,
};

/// Share of its paths that a link or switch must kill to be called down.
const DOWN: f64 = 0.9;
/// Share that something which is down may lose of its packets, by what is known of its rate.
const ALL: f64 = 0.99;

/// Finds the most probable set of faulty components: what kills paths, and what loses probes on living ones.
pub fn localize(problem: &Problem, settings: &Settings) -> Diagnosis {
    answer(problem, settings, false).0
}

/// The same, with what the observations leave possible of loss rates: see [`Posterior`].
pub fn localize_with_posterior(problem: &Problem, settings: &Settings) -> (Diagnosis, Posterior) {
    answer(problem, settings, true)
}

fn answer(problem: &Problem, settings: &Settings, with_posterior: bool) -> (Diagnosis, Posterior) {
    let work = Work::of(settings.most_work);
    let Mixture {
        split,
        kills,
        rates,
        ..
    } = Mixture::best(problem, settings, &work);
    let search = Search::new(problem, &split.paths, settings, PATH_BACKGROUND, &work);
    let doubtful = &problem.doubtful.lossy;
    let mut suspects = search.describe_all(&kills, |path| {
        split.paths.lossy[path].lost * doubtful[path].lost
    });
    for suspect in &mut suspects {
        suspect.trials = Trials::Paths;
        suspect.symptom = if suspect.loss_rate >= DOWN {
            Symptom::Down
        } else {
            Symptom::Blackhole
        };
    }
    let search = Search::new(problem, &split.probes, settings, PROBE_BACKGROUND, &work);
    let mut lossy = search.describe_all(&rates, |path| split.probes.lossy[path].lost);
    for suspect in &mut lossy {
        let [_, most] = suspect.loss_interval;
        if suspect.loss_rate >= DOWN && most >= ALL {
            suspect.symptom = Symptom::Down;
        }
    }
    let complete = !work.is_used_up();
    let posterior = if with_posterior {
        search.posterior(&rates)
    } else {
        Posterior::default()
    };
    if problem.signal() == Signal::Loss {
        lossy.retain(|suspect| suspect.loss_rate >= settings.least_rate);
    }
    suspects.extend(lossy);
    if problem.signal() == Signal::Slow {
        for suspect in &mut suspects {
            suspect.symptom = Symptom::Slow;
        }
    }
    suspects.sort_by(|a, b| {
        b.confidence
            .total_cmp(&a.confidence)
            .then_with(|| b.explains_lost.total_cmp(&a.explains_lost))
            .then_with(|| a.component.cmp(&b.component))
    });
    let diagnosis = Diagnosis {
        suspects,
        background_loss_rate: -(-rates.background).exp_m1(),
        complete,
        work: work.done(),
    };
    (diagnosis, posterior)
}
