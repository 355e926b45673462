//! Real packets through real switches on one machine: network namespaces as hosts and routers (Linux, root).

mod clos;
mod lab;

/// Selected by the profile `root`.
mod root {
    mod clos;
    mod line;
}
