//! Real packets through real switches on one machine: network namespaces as hosts and routers (Linux, root).

mod clos;
mod lab;
pub(crate) mod star;

/// Selected by the profile `root`.
mod root {
    mod clos;
    mod line;
}
