//! Any bytes as the kernel's type information: no look-up leaves its bounds or goes on for ever.

use rpingmesh::service::btf::Btf;
use rpingmesh::service::offsets;

/// Takes one input.
pub fn run(data: (&[u8], &[u8])) {
    let (base, module) = data;
    let Ok(base) = Btf::parse(base) else { return };
    let _ = offsets::find(&base);
    if let Ok(split) = Btf::parse_split(module, &base) {
        let _ = offsets::find(&split);
        let _ = split.member("ib_qp", "a.b.c");
    }
}
