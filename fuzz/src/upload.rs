//! Any bytes as a batch of an agent: what prost reads is read alike and what it refuses is refused, results and traces are
//! taken or refused one by one, and what is taken goes out again as it came.

use prost::Message as _;
use rpingmesh::rpc::results::{Ends, Received};
use rpingmesh::rpc::v1::ResultBatch;

/// Takes one input.
pub fn run(bytes: &[u8]) {
    let ends = Ends::default();
    let read = Received::read(bytes, &ends);
    let batch = match ResultBatch::decode(bytes) {
        Ok(batch) => batch,
        Err(error) => {
            // Of groups, which no field is, two more may be in each other.
            let is_deep = error.to_string().contains("recursion limit");
            assert!(read.is_err() || is_deep, "prost: {error}");
            return;
        }
    };
    assert_eq!(read, Received::read(&batch.encode_to_vec(), &ends));
    let (paths, traces) = (batch.paths.len(), batch.traces.len());
    let has_hardware = !batch.hardware.is_empty();
    let Ok(received) = read else {
        return;
    };
    let taken = received.batch.paths.len() + received.batch.traces.len();
    assert!(has_hardware || taken + received.refused.len() == paths + traces);
    let again = ResultBatch::from(received.batch.clone()).encode_to_vec();
    let again = Received::read(&again, &ends).expect("was taken");
    assert_eq!(again.batch.paths, received.batch.paths);
    assert_eq!(again.batch.traces, received.batch.traces);
}
