//! What several integration tests share.

pub(crate) mod certs;
pub(crate) mod lab;
pub(crate) mod logs;
pub(crate) mod program;
pub(crate) mod virtual_host;
