//! Names of faults' targets: `*` stands for any text.

/// How many near matches an error names.
const NEAR_MATCHES: usize = 3;

/// Whether `name` fits `pattern`, in which `*` stands for any text.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            match rest.find(middle) {
                Some(at) => rest = &rest[at + middle.len()..],
                None => return false,
            }
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

/// The names that look most like `name`.
pub(crate) fn near_matches<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Vec<String> {
    let limit = (name.len() / 3).max(2);
    let mut near: Vec<_> = candidates
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter()
        .take(NEAR_MATCHES)
        .map(|(_, candidate)| candidate.to_owned())
        .collect()
}

/// The node names that an end of a link's name may mean: a host's name means all its RNICs.
fn end_fits(pattern: &str, name: &str) -> bool {
    fits(pattern, name)
        || (!pattern.contains('/')
            && name
                .split_once('/')
                .is_some_and(|(host, _)| fits(pattern, host)))
}

/// A link's name as people write it: `A-B` for both directions of a cable, `A->B` for one, `*` for all.
#[derive(Debug, Clone)]
pub(crate) struct LinkPattern<'a> {
    /// The ways to read it: `agg0-1-tor3` has several, of which one names nodes.
    splits: Vec<(&'a str, &'a str)>,
    one_way: bool,
}

impl<'a> LinkPattern<'a> {
    pub(crate) fn new(name: &'a str) -> Self {
        let arrow = name.split_once("->");
        let splits = match arrow {
            Some(ends) => vec![ends],
            None if name == "*" => vec![("*", "*")],
            None => name
                .match_indices('-')
                .map(|(at, _)| (&name[..at], &name[at + 1..]))
                .collect(),
        };
        Self {
            splits,
            one_way: arrow.is_some(),
        }
    }

    /// Whether it names one direction only.
    pub(crate) const fn is_one_way(&self) -> bool {
        self.one_way
    }

    /// Whether it names this direction of a link.
    pub(crate) fn fits(&self, from: &str, to: &str) -> bool {
        self.splits.iter().any(|(a, b)| {
            (end_fits(a, from) && end_fits(b, to))
                || (!self.one_way && end_fits(a, to) && end_fits(b, from))
        })
    }

    /// A link in the notation of this pattern.
    pub(crate) fn written(&self, from: &str, to: &str) -> String {
        let between = if self.one_way { "->" } else { "-" };
        format!("{from}{between}{to}")
    }
}
