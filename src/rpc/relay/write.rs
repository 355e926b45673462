//! Frames as they are sent.

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message as _;

use super::Standing;
use super::batch::Condensed;
use super::columns::Writer;
use crate::analysis::report::{End, Path, Sender};
use crate::id::{AgentVersion, HostName};
use crate::probe::ProbeKind;
use crate::rpc::results::message::{clock_to, fidelity_to, kind_to};
use crate::rpc::shards::ShardEpoch;
use crate::rpc::v1;
use crate::transport::CompletionClock;

/// One message of an agent, on its way.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The agent, with its spool.
    pub sender: &'a Sender,
    /// Where it runs; empty where it does not say.
    pub host: &'a HostName,
    /// Of its program, where it tells.
    pub version: Option<&'a AgentVersion>,
    /// It was there when the judge began to be told: another judge may know it.
    pub again: bool,
    /// Its agent had sent it to another analyzer before.
    pub late: bool,
    /// What it says.
    pub content: Said<'a>,
}

/// What an item says.
#[derive(Debug, Clone, Copy)]
pub enum Said<'a> {
    /// The agent as it is now.
    State(&'a v1::AgentState),
    /// A batch, and where the spool stands after it.
    Batch(&'a Condensed, Standing),
}

/// The frame of these items. `definitions` has the paths that the stream has not described.
///
/// # Errors
/// zstd has no memory.
pub fn frame<'a>(
    number: u64,
    shards: impl IntoIterator<Item = (ShardEpoch, Vec<Outgoing<'a>>)>,
    definitions: &[(u32, Path, CompletionClock)],
    caught_up: bool,
) -> std::io::Result<v1::RelayFrame> {
    let mut columns = Writer::default();
    let shards = shards.into_iter().map(|(shard, items)| v1::RelayedShard {
        shard: Some(shard.into()),
        items: items
            .iter()
            .map(|item| relayed(item, &mut columns))
            .collect(),
    });
    Ok(v1::RelayFrame {
        number,
        shards: shards.collect(),
        caught_up,
        paths: (!definitions.is_empty()).then(|| described(definitions)),
        reports: Some(columns.finish()?),
    })
}

fn relayed(item: &Outgoing<'_>, columns: &mut Writer) -> v1::RelayedItem {
    let message = v1::RelayedItem {
        agent_id: item.sender.agent.as_str().to_owned(),
        spool_id: item.sender.spool.0,
        host: item.host.as_str().to_owned(),
        version: item
            .version
            .map_or_else(String::new, |version| version.as_str().to_owned()),
        again: item.again,
        late: item.late,
        ..v1::RelayedItem::default()
    };
    match item.content {
        Said::State(state) => v1::RelayedItem {
            state: Some(state.clone()),
            ..message
        },
        Said::Batch(batch, standing) => {
            let (refused_path, refusal) = batch.refusal.clone().unwrap_or_default();
            v1::RelayedItem {
                batch: batch.rest.clone(),
                // Fewer than the limit on messages has bytes.
                reports: u32::try_from(batch.reports.len()).unwrap_or(u32::MAX),
                first_path: columns.add(batch),
                newest_sequence: standing.newest,
                taken: standing.taken,
                lost: standing.lost,
                refused: batch.refused,
                refused_path,
                refusal,
                ..message
            }
        }
    }
}

/// Each end is said once.
fn described(definitions: &[(u32, Path, CompletionClock)]) -> v1::RelayedPaths {
    let mut message = v1::RelayedPaths::default();
    let mut places: HashMap<*const End, u32> = HashMap::new();
    let mut place = |end: &Arc<End>, ends: &mut Vec<bytes::Bytes>| {
        *places.entry(Arc::as_ptr(end)).or_insert_with(|| {
            ends.push(v1::Peer::from(&**end).encode_to_vec().into());
            u32::try_from(ends.len() - 1).unwrap_or(u32::MAX)
        })
    };
    for (number, path, clock) in definitions {
        message.paths.push(v1::RelayedPath {
            number: *number,
            source: place(&path.source, &mut message.ends),
            target: place(&path.target, &mut message.ends),
            kind: kind_to(path.kind).into(),
            focused: path.kind == ProbeKind::Focus,
            source_port: path.source_port.map_or(0, |port| port.0.into()),
            service: path
                .service
                .as_ref()
                .map_or_else(String::new, |service| service.as_str().to_owned()),
            clock: clock_to(*clock).into(),
            traffic_class: path.class.map(|class| class.traffic_class.into()),
            service_level: path.class.map(|class| class.service_level.into()),
            fidelity: fidelity_to(path.fidelity).into(),
        });
    }
    message
}
