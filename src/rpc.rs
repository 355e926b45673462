//! gRPC: the generated code and the conversions between its messages and the domain's types.
//!
//! Generated types stay in this module and in the role servers.

pub mod convert;
pub(crate) mod focus;
pub(crate) mod hardware;
pub(crate) mod keys;
pub mod pinglist;
pub mod registry;
pub mod relay;
pub mod results;
pub mod shards;
pub(crate) mod state;
pub(crate) mod traces;
pub mod upload;

/// The largest gRPC message that any role accepts, in bytes. Set it on generated clients and servers with
/// `max_decoding_message_size`; a larger one is refused with `OUT_OF_RANGE`.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Generated from `proto/rpingmesh/v1`.
#[allow(
    clippy::pedantic,
    missing_docs,
    unused_qualifications,
    unreachable_pub,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("rpingmesh.v1");
}
