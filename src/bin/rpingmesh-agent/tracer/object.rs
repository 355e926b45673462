//! The eBPF object for this program's processor, chosen by the build script.

use rpingmesh::service::trace::Unavailable;
use rpingmesh_ebpf_event::architecture;

/// The object's file name and its bytes; `None` where the agent was built without one.
const OBJECT: Option<(&str, &[u8])> = include!(concat!(env!("OUT_DIR"), "/ebpf_object.rs"));

/// The object that the agent was built with. The build script has looked at it; the loader looks again, because the kernel
/// would take an object for another processor, and its programs would read the arguments of calls in the wrong place.
///
/// # Errors
/// [`Unavailable::NoObject`], and [`Unavailable::WrongObject`] when it is not for this processor or does not say so.
pub(super) fn object() -> Result<&'static [u8], Unavailable> {
    let (name, bytes) = OBJECT.ok_or(Unavailable::NoObject)?;
    fit(name, bytes, std::env::consts::ARCH)?;
    Ok(bytes)
}

fn fit(name: &str, object: &[u8], processor: &str) -> Result<(), Unavailable> {
    architecture::check(object, processor).map_err(|unfit| Unavailable::WrongObject {
        object: name.to_owned(),
        why: unfit.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_embedded_is_for_this_processor() {
        match object() {
            Ok(bytes) => assert_eq!(architecture::of(bytes), Ok(std::env::consts::ARCH)),
            Err(why) => assert_eq!(why, Unavailable::NoObject),
        }
    }

    #[test]
    fn what_is_no_object_for_this_processor_is_refused_by_name() {
        let error = fit("bpfel-x86_64.o", b"\x7fELF", "x86_64").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the eBPF object in this agent cannot be used: bpfel-x86_64.o is not an eBPF object for little-endian kernels"
        );
    }
}
