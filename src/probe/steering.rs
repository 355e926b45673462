//! What decides an endpoint's UDP source ports, learned from responders that can see them.
//!
//! At first the name of the driver decides (`SourcePortSteering`, claimed by the transport). Each first ACK of a
//! responder that sees ports tests this claim.

use crate::id::{FlowLabel, UdpSourcePort};
use crate::transport::SourcePortSteering;

/// Observations of one kind in a row after which a claim is corrected. A driver that draws its ports meets the meant
/// one with probability 1/16384.
pub(crate) const ENOUGH: u32 = 3;

/// What flow labels do to the UDP source port of what an endpoint sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelEffect {
    /// No responder has said.
    NotSeen,
    /// The label decides the port.
    Steers,
    /// The port is another than the label's.
    Ignored,
}

/// What responders have seen of one endpoint's source ports since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LearnedSteering {
    /// Ports that were the intended ones.
    pub as_meant: u64,
    /// Ports that were others.
    pub otherwise: u64,
    /// Distinct labels in a row whose folded port was the packet's.
    followed: u32,
    /// Packets in a row whose port was not the label's.
    ignored: u32,
    last: Option<FlowLabel>,
}

impl LearnedSteering {
    /// A probe with `label`, which the endpoint meant to send from `meant`, arrived from `seen`.
    pub fn note(
        &mut self,
        claimed: &SourcePortSteering,
        label: FlowLabel,
        meant: Option<UdpSourcePort>,
        seen: UdpSourcePort,
    ) {
        if let Some(meant) = meant {
            if meant == seen {
                self.as_meant += 1;
            } else {
                self.otherwise += 1;
            }
        }
        let folded = label.source_port();
        if seen != folded {
            // A port that stands in for a taken one says nothing of labels.
            let stands_in = *claimed == SourcePortSteering::FlowLabel && meant == Some(seen);
            if !stands_in {
                self.ignored = self.ignored.saturating_add(1);
                self.followed = 0;
            }
            return;
        }
        // Where the queue pair was chosen for its port, the match is the choice's merit, not the label's.
        let chosen =
            matches!(claimed, SourcePortSteering::QueuePair(ports) if ports.contains(&folded));
        if !chosen && self.last != Some(label) {
            self.followed = self.followed.saturating_add(1);
            self.ignored = 0;
            self.last = Some(label);
        }
    }

    /// Whether the flow label decides the source port.
    pub fn flow_label(&self) -> LabelEffect {
        match (self.followed, self.ignored) {
            (0, 0) => LabelEffect::NotSeen,
            (0, _) => LabelEffect::Ignored,
            (_, _) => LabelEffect::Steers,
        }
    }

    /// What holds, if it is not what was claimed.
    pub fn corrected(&self, claimed: &SourcePortSteering) -> Option<SourcePortSteering> {
        match claimed {
            SourcePortSteering::FlowLabel if self.ignored >= ENOUGH => {
                Some(SourcePortSteering::Driver)
            }
            SourcePortSteering::Driver if self.followed >= ENOUGH => {
                Some(SourcePortSteering::FlowLabel)
            }
            SourcePortSteering::QueuePair(_)
                if self.as_meant == 0 && self.otherwise >= u64::from(ENOUGH) =>
            {
                Some(SourcePortSteering::Driver)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
