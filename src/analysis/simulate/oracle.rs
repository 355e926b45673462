//! What the data allow: a judge that knows nearly everything.

use std::collections::HashMap;

use super::draw::World;
use super::fault::Truth;
use crate::analysis::localize::{Component, Symptom};

/// Log-likelihood ratio of every directed link: how much better its best own loss rate, on top of the **true** rates of
/// all faults but itself, explains the losses than no loss of its own does. In nats, highest first.
///
/// It is told all other faults and their rates (`mean_background` for a healthy link), so no search and no confusion of
/// suspects is left: where one threshold on this, the best in hindsight, misses a fault or takes a healthy link for one,
/// the losses of the window were such that they suggest it. For faults of [`Symptom::Loss`] on known paths.
pub fn oracle(world: &World, mean_background: f64) -> Vec<(Component, f64)> {
    let mut lossy: HashMap<(&str, &str), Vec<(f64, f64)>> = HashMap::new();
    let mut passed: HashMap<(&str, &str), f64> = HashMap::new();
    let rates = rates(&world.truth);
    for seen in &world.observed {
        let links: Vec<(&str, &str)> = seen
            .path
            .windows(2)
            .map(|pair| (pair[0].as_str(), pair[1].as_str()))
            .collect();
        let hazard: f64 = links
            .iter()
            .map(|link| mean_background + rates.get(link).copied().unwrap_or(0.0))
            .sum();
        for link in &links {
            *passed.entry(*link).or_default() += (seen.sent - seen.lost) as f64;
            if seen.lost > 0 {
                let rest = hazard - rates.get(link).copied().unwrap_or(0.0);
                lossy
                    .entry(*link)
                    .or_default()
                    .push((seen.lost as f64, rest));
            }
        }
    }
    let mut rated: Vec<(Component, f64)> = lossy
        .iter()
        .map(|((from, to), lossy)| {
            let link = Component::Link {
                from: (*from).to_owned(),
                to: (*to).to_owned(),
            };
            (link, best_gain(lossy, passed[&(*from, *to)]))
        })
        .collect();
    rated.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    rated
}

fn rates(truth: &[Truth]) -> HashMap<(&str, &str), f64> {
    truth
        .iter()
        .filter(|fault| fault.symptom == Symptom::Loss)
        .filter_map(|fault| match &fault.component {
            Component::Link { from, to } => {
                Some(((from.as_str(), to.as_str()), -(-fault.loss_rate).ln_1p()))
            }
            _ => None,
        })
        .collect()
}

/// Maximum of `Σ l·ln(1 − e^{−(b+x)}) − l·ln(1 − e^{−b}) − passed·x` over `x ≥ 0`, by golden section in `ln x`.
fn best_gain(lossy: &[(f64, f64)], passed: f64) -> f64 {
    let gain = |x: f64| {
        let own: f64 = lossy
            .iter()
            .map(|(lost, rest)| lost * ((-(-(rest + x)).exp_m1()).ln() - (-(-rest).exp_m1()).ln()))
            .sum();
        own - passed * x
    };
    let ratio = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (1e-7_f64.ln(), 12.0_f64.ln());
    for _ in 0..60 {
        let step = ratio * (high - low);
        if gain((high - step).exp()) < gain((low + step).exp()) {
            low = high - step;
        } else {
            high = low + step;
        }
    }
    gain(f64::midpoint(low, high).exp()).max(0.0)
}
