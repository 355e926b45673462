//! The eBPF object that a packaged agent embeds: there, and for the kernels of the agent's processor.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use rpingmesh_ebpf_event::architecture;

/// What an agent embeds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Embedded {
    /// The object for its processor.
    Fit,
    /// None: it cannot follow services.
    None,
}

/// Looks for the object in an agent for `processor`.
///
/// # Errors
/// When it is for another one, or does not say for which.
pub(super) fn of(agent: &Path, processor: &str) -> Result<Embedded> {
    let bytes = fs::read(agent).with_context(|| format!("read {}", agent.display()))?;
    find(&bytes, processor).map_err(|why| anyhow!("the eBPF object in {} {why}", agent.display()))
}

fn find<'a>(agent: &'a [u8], processor: &'a str) -> Result<Embedded, architecture::Unfit<'a>> {
    const START: &[u8] = b"\x7fELF\x02\x01\x01";
    let mut from = 0;
    while let Some(at) = position(&agent[from..], START) {
        let rest = &agent[from + at..];
        match architecture::check(rest, processor) {
            Ok(()) => return Ok(Embedded::Fit),
            // The agent itself, or a mention of the magic bytes.
            Err(architecture::Unfit::NotEbpf) => from += at + 1,
            Err(unfit) => return Err(unfit),
        }
    }
    Ok(Embedded::None)
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head of an eBPF object without sections, within a program.
    fn agent_with_object() -> Vec<u8> {
        let mut agent = b"\x7fELF\x02\x01\x01 the agent itself \x7fELF\x02\x01\x01".to_vec();
        let mut object = [0; 64];
        object[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        object[18] = 247;
        agent.extend(object);
        agent
    }

    #[test]
    fn an_agent_without_an_object() {
        assert_eq!(
            find(
                b"\x7fELF\x02\x01\x01 the agent itself, long enough",
                "x86_64"
            ),
            Ok(Embedded::None)
        );
    }

    #[test]
    fn an_object_that_does_not_say_for_which_processor_it_is() {
        assert_eq!(
            find(&agent_with_object(), "x86_64"),
            Err(architecture::Unfit::Unmarked)
        );
    }
}
