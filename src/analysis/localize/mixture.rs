//! Paths that lost all of their probes: dead, or alive and unlucky.
//!
//! A path that lost 50 of 50 probes is dead. One that lost 2 of 2 may cross a link that loses half of its packets, or a switch
//! that swallows its 5-tuple. What tells is the pattern over all paths: a rate makes paths that lose one of two as well, a
//! blackhole never does.
//!
//! Each doubtful path therefore counts with the probability that it is dead, given what kills paths and what loses probes:
//! `D·dead / (D·dead + (1 − D)·alive)`, with `D` the probability that something on the path kills it, and the likelihoods
//! of its losses if it is dead and if it is alive. These probabilities and the two sets of suspects are found in turn
//! (expectation–maximisation), from several starts: all doubtful paths alive, all dead, and all dead but those that one of
//! several suspects alone would kill. The more probable result stands; where two are nearly alike, that of rates.

use super::component::ComponentId;
use super::evidence::Lossy;
use super::likelihood::Fit;
use super::problem::{Problem, Split};
use super::search::{PATH_BACKGROUND, PROBE_BACKGROUND, Search, Settings, Work};

/// Rounds of expectation–maximisation.
const ROUNDS: usize = 4;
/// Probabilities that change less are settled.
const SETTLED: f64 = 0.02;
/// Nats by which dead paths must explain the observations better than rates do.
const MARGIN: f64 = 3.0;
/// So many probes of one path a rate of loss may well take all.
const FEW: f64 = 6.0;
/// The most killers of paths that are tried as rates.
const MOST_TRIED: usize = 8;
/// Hazard from which on a member kills nine of ten paths.
const DOWN: f64 = std::f64::consts::LN_10;
/// Share of its probes that a dead path passes, at the beginning or at the end of its being dead.
const PASSED: f64 = 0.01;

/// Which of the doubtful paths are dead, and what explains the observations then.
pub(super) struct Mixture<'a> {
    /// The two bodies of evidence.
    pub(super) split: Split<'a>,
    /// What kills paths.
    pub(super) kills: Fit,
    /// What loses probes.
    pub(super) rates: Fit,
    /// Log posterior, in nats, up to a constant of the problem.
    score: f64,
}

impl<'a> Mixture<'a> {
    /// The most probable one.
    pub(super) fn best(problem: &'a Problem, settings: &Settings, work: &Work) -> Self {
        let doubtful = &problem.doubtful.lossy;
        let rates = Self::from(problem, settings, work, vec![0.0; doubtful.len()]);
        // A path that sent one probe is as likely dead as unlucky.
        if doubtful.iter().all(|path| path.sent <= 1.0) {
            return rates;
        }
        let kills = Self::from(problem, settings, work, vec![1.0; doubtful.len()])
            .with_rates(problem, settings, work);
        if kills.score > rates.score + MARGIN {
            kills
        } else {
            rates
        }
    }

    /// The same, but for members that rather lose probes by a rate than kill paths: beside another blackhole, a link that
    /// loses half of its packets passes for one where each path sent one or two probes. One after another is tried.
    fn with_rates(self, problem: &'a Problem, settings: &Settings, work: &Work) -> Self {
        let members = self.kills.members.clone();
        if !(2..=MOST_TRIED).contains(&members.len()) {
            return self;
        }
        let mut best = self;
        let mut top = best.score;
        for (member, hazard) in &members {
            // What kills nearly all paths is down, whatever else there is.
            if *hazard >= DOWN || !Self::may_lose_by_rate(*member, problem) {
                continue;
            }
            if work.is_used_up() {
                break;
            }
            let other = Self::from(problem, settings, work, best.spared_by(*member, problem));
            if !other.kills.contains(*member) && other.score + MARGIN > top {
                top = top.max(other.score);
                best = other;
            }
        }
        best
    }

    /// Whether the doubtful paths across `member` sent so few probes that a rate may have taken them all.
    fn may_lose_by_rate(member: ComponentId, problem: &Problem) -> bool {
        let crosses = |path: &&Lossy| path.parts.iter().any(|part| part.component == member);
        let (mut paths, mut probes) = (0.0, 0.0);
        for path in problem.doubtful.lossy.iter().filter(crosses) {
            paths += 1.0;
            probes += path.sent;
        }
        probes <= FEW * paths
    }

    /// The probabilities of the doubtful paths to be dead, if those that only `member` kills are alive.
    fn spared_by(&self, member: ComponentId, problem: &Problem) -> Vec<f64> {
        let (mut dead, _) = self.expect(problem);
        for (dead, path) in dead.iter_mut().zip(&problem.doubtful.lossy) {
            let mut crossed = path.parts.iter().map(|part| part.component);
            if crossed.clone().any(|part| part == member)
                && !crossed.any(|part| part != member && self.kills.contains(part))
            {
                *dead = 0.0;
            }
        }
        dead
    }

    fn from(problem: &'a Problem, settings: &Settings, work: &Work, mut dead: Vec<f64>) -> Self {
        let mut mixture = Self::given(problem, settings, work, &dead);
        for _ in 0..ROUNDS {
            if work.is_used_up() {
                break;
            }
            let (next, _) = mixture.expect(problem);
            let change = dead
                .iter()
                .zip(&next)
                .map(|(before, after)| (before - after).abs())
                .fold(0.0, f64::max);
            if change < SETTLED {
                break;
            }
            dead = next;
            mixture = Self::given(problem, settings, work, &dead);
        }
        mixture
    }

    /// What explains the observations best where the doubtful paths are dead with these probabilities.
    fn given(problem: &'a Problem, settings: &Settings, work: &Work, dead: &[f64]) -> Self {
        let split = problem.split(dead);
        let search = Search::new(problem, &split.paths, settings, PATH_BACKGROUND, work);
        let kills = search.run();
        let price = search.price(&kills);
        let search = Search::new(problem, &split.probes, settings, PROBE_BACKGROUND, work);
        let rates = search.run();
        let price = price + search.price(&rates);
        let mut mixture = Self {
            split,
            kills,
            rates,
            score: 0.0,
        };
        let (_, nats) = mixture.expect(problem);
        mixture.score = nats - price;
        mixture
    }

    /// The probability of each doubtful path to be dead, and the log-likelihood of all observations.
    fn expect(&self, problem: &Problem) -> (Vec<f64>, f64) {
        let (paths, probes) = (&self.split.paths, &self.split.probes);
        let kills = self.kills.hazards(paths, None);
        let rates = self.rates.hazards(probes, None);
        let doubtful = &problem.doubtful.lossy;
        let first = probes.lossy.len() - doubtful.len();
        // Both bodies count the doubtful paths by their probabilities; here each counts once, as what it may be.
        let mut nats = self.kills.log_likelihood(paths) + self.rates.log_likelihood(probes);
        let mut dead = Vec::with_capacity(doubtful.len());
        for (at, path) in doubtful.iter().enumerate() {
            nats -= kills.nats(at, &paths.lossy[at])
                + rates.nats(first + at, &probes.lossy[first + at]);
            let if_dead = kills.fail(at).ln() + if_dead(path);
            let if_alive = rates.nats(first + at, path) + kills.pass(at).ln();
            let most = if_dead.max(if_alive);
            let sum = (if_dead - most).exp() + (if_alive - most).exp();
            dead.push((if_dead - most).exp() / sum);
            nats += most + sum.ln();
        }
        (dead, nats)
    }
}

/// Log-likelihood of a path's losses where it is dead.
fn if_dead(path: &Lossy) -> f64 {
    let passed = path.sent - path.lost;
    passed * PASSED.ln() + (-PASSED).ln_1p()
}

#[cfg(test)]
mod tests;
