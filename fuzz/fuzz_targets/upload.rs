//! Any bytes as a batch of an agent: results and traces are taken or refused one by one, and what is taken goes out again
//! as it came.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use rpingmesh::rpc::results::Received;
use rpingmesh::rpc::v1::ResultBatch;

fuzz_target!(|bytes: &[u8]| {
    let Ok(batch) = ResultBatch::decode(bytes) else {
        return;
    };
    let (paths, traces) = (batch.paths.len(), batch.traces.len());
    let Ok(received) = Received::try_from(batch) else {
        return;
    };
    let taken = received.batch.paths.len() + received.batch.traces.len();
    assert_eq!(taken + received.refused.len(), paths + traces);
    let again = Received::try_from(ResultBatch::from(received.batch.clone())).expect("was taken");
    assert_eq!(again.batch.paths, received.batch.paths);
    assert_eq!(again.batch.traces, received.batch.traces);
});
