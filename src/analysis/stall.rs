//! Whether losses are rather one host's that stood still than the network's.
//!
//! A host that handles nothing for a second loses the probes to it, and only those: what it sent itself, before and after,
//! comes back. An RNIC, its cable and its ToR are crossed by a probe and by its ACK, so what they lose hits the probes from an
//! RNIC as much as those to it. Here both are hypotheses: one rate for all of them, or one for what waited for the host and
//! nothing but the background for the others.

/// Probes, and those of them that were lost.
type Counts = (u64, u64);

/// Share of its probes that a healthy path loses, at the most.
const BACKGROUND: f64 = 5e-4;

/// By how many nats the network at fault explains the counts better than a host that stood still; negative where it
/// explains them worse. `waited` are the probes that such a host would have lost, `others` those that only the network's fault
/// would have hit as well.
pub(crate) fn against(waited: Counts, others: Counts) -> f64 {
    let all = (
        waited.0.saturating_add(others.0),
        waited.1.saturating_add(others.1),
    );
    fitted(all) - fitted(waited) - at_rate(others, BACKGROUND)
}

/// Log-likelihood at the rate that fits best.
fn fitted(counts: Counts) -> f64 {
    let rate = counts.1 as f64 / counts.0.max(1) as f64;
    at_rate(counts, rate.clamp(BACKGROUND, 1.0))
}

fn at_rate((sent, lost): Counts, rate: f64) -> f64 {
    let passed = sent.saturating_sub(lost) as f64;
    let of_passed = if passed > 0.0 {
        passed * (-rate).ln_1p()
    } else {
        0.0
    };
    lost as f64 * rate.ln() + of_passed
}

#[cfg(test)]
mod tests;
