//! Any bytes as a frame that an analyzer passes on, with its columns not compressed: it is read or refused, and what is read goes out
//! again as it came.

use std::sync::Arc;

use prost::Message as _;
use rpingmesh::analysis::report::Batch;
use rpingmesh::rpc::relay::{
    Condensed, Content, Frame, Outgoing, PathBook, Reader, Said, Standing, Told, frame,
};
use rpingmesh::rpc::v1::{RelayFrame, RelayedReports};

/// Changes every column.
pub fn each_column(reports: &mut RelayedReports, change: impl Fn(&[u8]) -> Vec<u8>) {
    let columns = [
        &mut reports.paths,
        &mut reports.complete,
        &mut reports.network_rtt_low,
        &mut reports.network_rtt_high,
        &mut reports.prober_delay_low,
        &mut reports.prober_delay_high,
        &mut reports.responder_delay_low,
        &mut reports.responder_delay_high,
        &mut reports.exact,
        &mut reports.odd,
    ];
    for column in columns {
        *column = change(column).into();
    }
}

/// Takes one input.
pub fn run(bytes: &[u8]) {
    let Ok(mut message) = RelayFrame::decode(bytes) else {
        return;
    };
    if let Some(reports) = &mut message.reports {
        each_column(reports, |column| {
            zstd::bulk::compress(column, 1).expect("memory")
        });
    }
    let Ok(read) = Reader::new(Arc::default()).read(message) else {
        return;
    };
    let (mut book, mut told) = (PathBook::default(), Told::default());
    let mut reader = Reader::new(Arc::default());
    for shard in read.shards {
        let Ok(epoch) = shard.shard else { continue };
        for item in shard.items.into_iter().flatten() {
            let Content::Batch { received, .. } = item.content else {
                continue;
            };
            let sent = received.batch.clone();
            let condensed = Condensed::of(*received, &mut book);
            let mut paths = Vec::new();
            condensed.untold(&book, &mut told, &mut paths);
            let outgoing = Outgoing {
                sender: &item.sender,
                host: &item.host,
                version: item.version.as_ref(),
                again: item.again,
                late: item.late,
                content: Said::Batch(&condensed, Standing::default()),
            };
            let message = frame(1, [(epoch, vec![outgoing])], &paths, true).expect("memory");
            let again = reader.read(message).expect("was read");
            assert_eq!(in_order(only(again)), in_order(sent));
            condensed.release(&mut book);
        }
    }
    assert!(book.is_empty());
}

fn only(frame: Frame) -> Batch {
    let mut items = frame.shards.into_iter().flat_map(|shard| shard.items);
    match items.next().expect("an item").expect("was read").content {
        Content::Batch { received, .. } => received.batch,
        Content::State(state) => panic!("{state:?}"),
    }
}

/// In an order that does not depend on numbers of paths.
fn in_order(mut batch: Batch) -> Batch {
    batch
        .paths
        .sort_by_cached_key(|report| format!("{report:?}"));
    batch
}
