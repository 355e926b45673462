//! The eBPF object for this program's processor, chosen by the build script.

/// `None` where the agent was built without one.
pub(super) const OBJECT: Option<&[u8]> = include!(concat!(env!("OUT_DIR"), "/ebpf_object.rs"));
