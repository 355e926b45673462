//! File descriptors: how many this process may have, and how the listeners share them.
//!
//! A service manager starts programs with a soft limit of 1 024, for programs that still use `select`. Ours do not, so each
//! raises it to the hard limit at its start.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Tried where the hard limit is none, from the top: the system may have a smaller one of its own (macOS: 10 240).
const TRIED: [u64; 3] = [1 << 20, 65_536, 10_240];
/// For files, databases, sockets of the transports and connections that this program opens.
const RESERVE: usize = 128;
/// Below this many connections per listener nothing works.
const LEAST: usize = 16;
/// The most connections of the gRPC listener: several times the agents of the largest fabric.
const MOST_GRPC: usize = 65_536;
/// The most connections of a web listener: one for each open page, and scrapers.
const MOST_WEB: usize = 4_096;

/// The limit of open files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// What the program was started with; `None` for no limit.
    pub started_with: Option<u64>,
    /// What is in force.
    pub limit: Option<u64>,
}

/// Raises the soft limit to the hard limit.
pub fn raise() -> Descriptors {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = match maximum {
        Some(hard) => vec![hard],
        None => TRIED.to_vec(),
    };
    for limit in wanted {
        if current.is_none_or(|current| current >= limit) {
            break;
        }
        let raised = Rlimit {
            current: Some(limit),
            maximum,
        };
        // What the system refuses leaves the limit as it was, which is reported.
        if setrlimit(Resource::Nofile, raised).is_ok() {
            break;
        }
    }
    Descriptors {
        started_with: current,
        limit: getrlimit(Resource::Nofile).current,
    }
}

/// What a listener serves. Each kind has a share of the descriptors that the others cannot take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// gRPC: five eighths.
    Grpc,
    /// Web pages, the JSON API, metrics: an eighth.
    Web,
}

impl Share {
    /// The most connections of a listener of this kind under the limit in force.
    pub fn connections(self) -> usize {
        self.under(getrlimit(Resource::Nofile).current)
    }

    fn under(self, limit: Option<u64>) -> usize {
        let limit = limit.map_or(usize::MAX, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        });
        let free = limit.saturating_sub(RESERVE);
        let (share, most) = match self {
            Self::Grpc => (free / 8 * 5, MOST_GRPC),
            Self::Web => (free / 8, MOST_WEB),
        };
        share.clamp(LEAST, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let found = raise();
        let now = getrlimit(Resource::Nofile);
        assert_eq!(found.limit, now.current);
        if now.maximum.is_some() {
            assert_eq!(now.current, now.maximum);
        }
    }

    #[test]
    fn listeners_have_separate_shares() {
        for limit in [Some(256), Some(1_024), Some(20_000), Some(524_288), None] {
            let (grpc, web) = (Share::Grpc.under(limit), Share::Web.under(limit));
            // The analyzer has one of each, a controller too, and there is room for the rest.
            let used = u64::try_from(grpc + web).expect("few");
            assert!(
                limit.is_none_or(|limit| used < limit),
                "{limit:?}: {grpc} and {web}"
            );
        }
        assert_eq!(Share::Grpc.under(Some(1_024)), 560);
        assert_eq!(Share::Grpc.under(None), MOST_GRPC);
    }
}
