//! Conversions of what an agent says of itself. What cannot be used is left out: no word about an agent is a reason to refuse
//! its results.

use super::{convert, keys, v1};
use crate::analysis::fleet::{AgentState, MOST_LINES, MOST_RNICS_OF_AGENT, RnicState};
use crate::id::{check_name, shown};

/// The longest line that is kept, in bytes.
pub(crate) const LONGEST_LINE: usize = 512;

impl From<&AgentState> for v1::AgentState {
    fn from(state: &AgentState) -> Self {
        Self {
            rnics: state
                .rnics
                .iter()
                .take(MOST_RNICS_OF_AGENT)
                .map(|rnic| v1::RnicState {
                    device: rnic.device.as_str().to_owned(),
                    closed: rnic.closed.as_deref().map(cut).unwrap_or_default(),
                    clock: rnic
                        .clock
                        .map_or(v1::CompletionClock::Unspecified, Into::into)
                        .into(),
                })
                .collect(),
            degraded: state
                .degraded
                .iter()
                .take(MOST_LINES)
                .map(|line| cut(line))
                .collect(),
            tuples: state.tuples,
            keys: state.keys.as_ref().map(Into::into),
            stopping: state.is_stopping,
        }
    }
}

impl From<v1::AgentState> for AgentState {
    fn from(message: v1::AgentState) -> Self {
        let is_usable =
            |rnic: &v1::RnicState| !rnic.device.is_empty() && check_name(&rnic.device).is_ok();
        Self {
            rnics: message
                .rnics
                .into_iter()
                .take(MOST_RNICS_OF_AGENT)
                .filter(is_usable)
                .map(|rnic| RnicState {
                    device: rnic.device.into(),
                    closed: (!rnic.closed.is_empty()).then(|| cut(&rnic.closed)),
                    // One that a newer agent has is not known here.
                    clock: convert::clock("clock", rnic.clock).ok(),
                })
                .collect(),
            degraded: message
                .degraded
                .iter()
                .filter(|line| !line.is_empty())
                .take(MOST_LINES)
                .map(|line| cut(line))
                .collect(),
            tuples: message.tuples,
            keys: message.keys.as_ref().and_then(keys::key_use),
            is_stopping: message.stopping,
        }
    }
}

/// A line as it can be shown, of at most [`LONGEST_LINE`] bytes.
pub(super) fn cut(line: &str) -> String {
    let line = shown(line);
    if line.len() <= LONGEST_LINE {
        return line.into_owned();
    }
    let end = line.floor_char_boundary(LONGEST_LINE - '…'.len_utf8());
    format!("{}…", &line[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster_key::{KeySource, KeyUse, Phase};
    use crate::transport::CompletionClock;
    use crate::wire::Fingerprint;

    #[test]
    fn a_state_comes_back() {
        let state = AgentState {
            rnics: vec![
                RnicState {
                    device: "mlx5_0".into(),
                    closed: None,
                    clock: Some(CompletionClock::HardwareRaw),
                },
                RnicState {
                    device: "mlx5_1".into(),
                    closed: Some("the port is down".to_owned()),
                    clock: None,
                },
            ],
            degraded: vec!["tracing: no CAP_BPF".to_owned()],
            tuples: 84,
            keys: Some(KeyUse {
                source: KeySource::Controller,
                phase: Some(Phase::Steady),
                signs: Some(Fingerprint([7; 8])),
            }),
            is_stopping: true,
        };
        assert_eq!(AgentState::from(v1::AgentState::from(&state)), state);
    }

    #[test]
    fn what_cannot_be_used_is_left_out_and_cut() {
        let rnic = |device: &str, closed: &str| v1::RnicState {
            device: device.to_owned(),
            closed: closed.to_owned(),
            clock: 77,
        };
        let mut rnics = vec![rnic("", ""), rnic("a\nb", ""), rnic("ok", "red \u{1b}[31m")];
        rnics.extend((0..1_000).map(|number| rnic(&format!("d{number}"), "")));
        let message = v1::AgentState {
            rnics,
            degraded: vec!["é".repeat(1_000); 1_000],
            tuples: u64::MAX,
            keys: Some(v1::KeyState {
                source: 99,
                phase: 99,
                signs: bytes::Bytes::from_static(b"?"),
            }),
            stopping: false,
        };
        let state = AgentState::from(message);
        assert!(state.rnics.len() < MOST_RNICS_OF_AGENT);
        assert_eq!(state.rnics[0].device, "ok".into());
        assert_eq!(state.rnics[0].closed.as_deref(), Some("red \\u{1b}[31m"));
        assert_eq!((state.rnics[0].clock, state.keys), (None, None));
        assert_eq!(state.degraded.len(), MOST_LINES);
        assert!(
            state.degraded[0].len() <= LONGEST_LINE,
            "{}",
            state.degraded[0].len()
        );
        assert!(state.degraded[0].ends_with("é…"));
    }
}
