//! The six timestamps of a probe and what follows from them.
//!
//! | | what | clock |
//! |---|---|---|
//! | T1 | the prober hands the probe to its endpoint | prober's host |
//! | T2 | the probe's send completion | prober's RNIC |
//! | T3 | the probe's arrival | responder's RNIC |
//! | T4 | the first ACK's send completion | responder's RNIC |
//! | T5 | the first ACK's arrival | prober's RNIC |
//! | T6 | the prober has handled that arrival | prober's host |
//!
//! T3 and T4 never leave the responder, only their difference does, in the second ACK. Each difference is taken within
//! one clock, so no two clocks need to agree.

mod quantity;

use serde::{Deserialize, Serialize};

pub use quantity::{Rate, Ratio};

use crate::time::{HostTime, Nanos, NicTime};

/// The six timestamps of a probe, as far as they are known. An event that did not happen is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamps {
    /// T1.
    pub posted: HostTime,
    /// T2.
    pub sent: Option<NicTime>,
    /// T4 - T3.
    pub responder_delay: Option<Nanos>,
    /// T5.
    pub acknowledged: Option<NicTime>,
    /// T6.
    pub handled: Option<HostTime>,
}

impl Timestamps {
    /// Of a probe that is about to be sent.
    pub const fn posted(at: HostTime) -> Self {
        Self {
            posted: at,
            sent: None,
            responder_delay: None,
            acknowledged: None,
            handled: None,
        }
    }

    /// Whether all timestamps are known.
    pub(crate) const fn is_complete(&self) -> bool {
        self.sent.is_some()
            && self.responder_delay.is_some()
            && self.acknowledged.is_some()
            && self.handled.is_some()
    }

    /// The outcome of the probe if nothing more arrives.
    pub(crate) fn conclude(&self) -> Outcome {
        match self.measure() {
            Ok(measurement) => Outcome::Complete(measurement),
            Err(Missing::Invalid(reason)) => Outcome::Invalid(reason),
            Err(Missing::FirstAck) => Outcome::Lost,
        }
    }

    fn measure(&self) -> Result<Measurement, Missing> {
        let sent = self.sent.ok_or(Invalid::SendCompletionMissing)?;
        // A second ACK alone does not help: the responder sends it after the first, which the network has dropped.
        let (acknowledged, handled) = self
            .acknowledged
            .zip(self.handled)
            .ok_or(Missing::FirstAck)?;
        let responder_delay = self.responder_delay.ok_or(Invalid::SecondAckMissing)?;
        let round_trip = acknowledged - sent;
        let measurement = Measurement {
            network_rtt: round_trip - responder_delay,
            prober_delay: (handled - self.posted) - round_trip,
            responder_delay,
        };
        measurement.check().map_err(Missing::Invalid)
    }
}

enum Missing {
    FirstAck,
    Invalid(Invalid),
}

impl From<Invalid> for Missing {
    fn from(reason: Invalid) -> Self {
        Self::Invalid(reason)
    }
}

/// The results of a complete probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measurement {
    /// Network RTT, (T5 - T2) - (T4 - T3): the time on the network, in both directions.
    pub network_rtt: Nanos,
    /// Prober delay, (T6 - T1) - (T5 - T2): the time that the prober's host and RNIC took.
    pub prober_delay: Nanos,
    /// Responder delay, T4 - T3: the time that the responder took.
    pub responder_delay: Nanos,
}

impl Measurement {
    /// Refuses negative spans: clocks were mixed, set or broken.
    fn check(self) -> Result<Self, Invalid> {
        // The responder's delay first: a broken one falsifies the round-trip time too.
        if self.responder_delay.is_negative() {
            Err(Invalid::NegativeResponderDelay)
        } else if self.network_rtt.is_negative() {
            Err(Invalid::NegativeNetworkRtt)
        } else if self.prober_delay.is_negative() {
            Err(Invalid::NegativeProberDelay)
        } else {
            Ok(self)
        }
    }
}

/// Why a probe has no valid measurement. Never counted as loss. The names are those of `InvalidReason` in
/// `analyzer.proto`.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    thiserror::Error,
)]
#[serde(rename_all = "snake_case")]
pub enum Invalid {
    /// (T5 - T2) - (T4 - T3) is negative.
    #[error("negative network round-trip time")]
    NegativeNetworkRtt,
    /// (T6 - T1) - (T5 - T2) is negative.
    #[error("negative prober delay")]
    NegativeProberDelay,
    /// T4 - T3 is negative.
    #[error("negative responder delay")]
    NegativeResponderDelay,
    /// The probe could not be sent.
    #[error("the probe could not be sent")]
    SendFailed,
    /// The first ACK came, the second did not: the path works, T4 is unknown.
    #[error("the second ACK is missing")]
    SecondAckMissing,
    /// The local endpoint was replaced while the probe was under way.
    #[error("the endpoint was reset")]
    EndpointReset,
    /// The send completion never came, so T2 is unknown.
    #[error("the send completion is missing")]
    SendCompletionMissing,
}

impl Invalid {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::NegativeNetworkRtt,
        Self::NegativeProberDelay,
        Self::NegativeResponderDelay,
        Self::SendFailed,
        Self::SecondAckMissing,
        Self::EndpointReset,
        Self::SendCompletionMissing,
    ];

    /// Whether the first ACK arrived: the probe was not lost, only its times are not known. Without these probes a path whose second
    /// ACKs are lost too would seem to lose more than it does: the measured ones are fewer.
    pub const fn is_answered(self) -> bool {
        match self {
            Self::NegativeNetworkRtt
            | Self::NegativeProberDelay
            | Self::NegativeResponderDelay
            | Self::SecondAckMissing => true,
            Self::SendFailed | Self::EndpointReset | Self::SendCompletionMissing => false,
        }
    }

    /// Its name in labels and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NegativeNetworkRtt => "negative_network_rtt",
            Self::NegativeProberDelay => "negative_prober_delay",
            Self::NegativeResponderDelay => "negative_responder_delay",
            Self::SendFailed => "send_failed",
            Self::SecondAckMissing => "second_ack_missing",
            Self::EndpointReset => "endpoint_reset",
            Self::SendCompletionMissing => "send_completion_missing",
        }
    }
}

/// What became of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Both ACKs arrived and the probe is measured.
    Complete(Measurement),
    /// It was sent, and no first ACK arrived in time.
    Lost,
    /// Its times are not known; whether it was answered, [`Invalid::is_answered`] says.
    Invalid(Invalid),
}

impl Outcome {
    /// The measurement, if there is one.
    pub const fn measurement(&self) -> Option<&Measurement> {
        match self {
            Self::Complete(measurement) => Some(measurement),
            Self::Lost | Self::Invalid(_) => None,
        }
    }
}

/// Minimum, percentiles and maximum of many spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The smallest.
    pub min: Nanos,
    /// The 50th percentile.
    pub p50: Nanos,
    /// The 90th percentile.
    pub p90: Nanos,
    /// The 99th percentile.
    pub p99: Nanos,
    /// The largest.
    pub max: Nanos,
}

impl Summary {
    /// The summary of the given spans, in any order; `None` if there are none. Percentiles use the nearest rank, so
    /// each is one of the spans.
    pub fn of(spans: impl IntoIterator<Item = Nanos>) -> Option<Self> {
        let mut sorted: Vec<Nanos> = spans.into_iter().collect();
        sorted.sort_unstable();
        Some(Self {
            min: *sorted.first()?,
            p50: percentile(&sorted, 50)?,
            p90: percentile(&sorted, 90)?,
            p99: percentile(&sorted, 99)?,
            max: *sorted.last()?,
        })
    }
}

/// The smallest of the ascending spans that at least `percent` per cent are not above; `None` if there are none.
pub fn percentile(sorted: &[Nanos], percent: usize) -> Option<Nanos> {
    let rank = (sorted.len() * percent.min(100)).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests;
