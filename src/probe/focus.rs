//! Probing some 5-tuples more, at the expense of the others, within this prober's own bounds.
//!
//! Whoever asks for 5-tuples does not decide what this prober sends: it re-rates 5-tuples of its own list, never sends more
//! in all than its list says, and keeps a part of every rate. What is asked beyond that is refused or scaled down, and counted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::{Group, ProbeKind, ProbePath, Rate};
use crate::id::{Gid, UdpSourcePort};

/// A 5-tuple of this prober: target, and the UDP source port that its label stands for.
pub type FlowKey = (Gid, UdpSourcePort);

/// What a prober does of what it is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FocusBounds {
    /// Share of the rate of its inter-ToR probes that may move to the 5-tuples that are asked for, 0 to [`MOST_SHARE`].
    pub share: f64,
    /// Portions of its own rate that a 5-tuple may get beside it.
    pub portions: u32,
}

/// The largest [`FocusBounds::share`]: each 5-tuple keeps at least a quarter of its rate.
pub const MOST_SHARE: f64 = 0.75;

impl Default for FocusBounds {
    /// Half of the rate, and a 5-tuple at most four times as often.
    fn default() -> Self {
        Self {
            share: 0.5,
            portions: 3,
        }
    }
}

/// What was refused or cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refused {
    /// 5-tuples that are not in this prober's list.
    pub unknown: u64,
    /// 5-tuples asked for beyond [`FocusBounds::portions`].
    pub cut: u64,
    /// Whether all were scaled down to [`FocusBounds::share`].
    pub is_scaled: bool,
}

/// The groups with some of their 5-tuples probed more: those of `asked`, with how many portions of their rate beside it. The
/// groups keep their 5-tuples and get slower; what is asked for is in groups of the kind [`ProbeKind::Focus`] behind them, one for
/// each rate. The rate of all groups together stays. Inter-ToR groups alone are changed.
pub(crate) fn focused(
    groups: &[Group],
    asked: &HashMap<FlowKey, u32>,
    bounds: &FocusBounds,
) -> (Vec<Group>, Refused) {
    let mut refused = Refused::default();
    let portions = |path: &ProbePath| {
        let asked = asked.get(&flow(path)).copied().unwrap_or(0);
        asked.min(bounds.portions)
    };
    let (mut base, mut extra) = (0.0, 0.0);
    let mut known: HashSet<FlowKey> = HashSet::new();
    for group in groups.iter().filter(|group| is_focused(group)) {
        base += group.rate.get();
        let each = group.rate.get() / group.paths.len() as f64;
        for path in &group.paths {
            extra += each * f64::from(portions(path));
            known.insert(flow(path));
        }
    }
    for (flow, asked) in asked {
        refused.unknown += u64::from(!known.contains(flow));
        refused.cut += u64::from(known.contains(flow) && *asked > bounds.portions);
    }
    if extra <= 0.0 || base <= 0.0 {
        return (groups.to_vec(), refused);
    }
    let most = base * bounds.share.clamp(0.0, MOST_SHARE);
    let scale = (most / extra).min(1.0);
    refused.is_scaled = scale < 1.0;
    let kept = 1.0 - extra * scale / base;
    let mut changed = groups.to_vec();
    for group in changed.iter_mut().filter(|group| is_focused(group)) {
        if let Some(rate) = Rate::per_second(group.rate.get() * kept) {
            group.rate = rate;
        }
    }
    let of_focus = groups.iter().filter(|group| is_focused(group));
    changed.extend(of_focus.flat_map(|group| added(group, portions, scale)));
    (changed, refused)
}

fn flow(path: &ProbePath) -> FlowKey {
    (path.target.address.gid, path.flow_label.source_port())
}

fn is_focused(group: &Group) -> bool {
    group.kind == ProbeKind::InterTor && !group.paths.is_empty()
}

/// What is added to a group, as one group for each number of portions.
fn added(group: &Group, portions: impl Fn(&ProbePath) -> u32, scale: f64) -> Vec<Group> {
    let each = group.rate.get() / group.paths.len() as f64;
    let mut classes: BTreeMap<u32, Vec<Arc<ProbePath>>> = BTreeMap::new();
    for path in &group.paths {
        let portions = portions(path);
        if portions > 0 {
            let class = classes.entry(portions).or_default();
            class.push(Arc::clone(path));
        }
    }
    classes
        .into_iter()
        .filter_map(|(portions, paths)| {
            let rate = each * f64::from(portions) * scale * paths.len() as f64;
            Some(Group {
                kind: ProbeKind::Focus,
                rate: Rate::per_second(rate)?,
                paths,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
