//! Frames as the judge reads them.

use std::sync::Arc;

use super::columns::{ColumnError, Columns};
use super::{Content, Frame, FrameShard, Item, ItemError, MOST_PATHS, Standing};
use crate::analysis::report::{End, Path, PathReport, Sender, SpoolId};
use crate::id::{AgentVersion, HostName, ServiceName, UdpSourcePort};
use crate::probe::ProbeKind;
use crate::rpc::convert;
use crate::rpc::results::message::{class_from, clock_from, fidelity_from, kind_from, name};
use crate::rpc::results::{Ends, Received, ReportError};
use crate::rpc::shards::ShardEpoch;
use crate::rpc::state::cut;
use crate::rpc::v1;
use crate::transport::CompletionClock;

/// The most reports of one frame: a batch as large as a message may be has fewer.
const MOST_REPORTS: usize = 1 << 19;

/// A frame that cannot be read. What comes behind it on its stream has no meaning.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Its columns.
    #[error(transparent)]
    Column(#[from] ColumnError),
    /// A path is described in a way that cannot be.
    #[error("path {number}: {error}")]
    Path {
        /// Its number.
        number: u32,
        /// Why.
        #[source]
        error: ReportError,
    },
    /// A path's number is too large.
    #[error("path {0}: numbers are below {MOST_PATHS}")]
    Number(u64),
    /// More reports than the largest batch has.
    #[error("more than {MOST_REPORTS} reports in one frame")]
    Reports,
    /// A report of a path that the stream has not described.
    #[error("path {0} is not described")]
    Unknown(u64),
    /// An end of a path is no message.
    #[error("an end of a path: {0}")]
    End(#[from] prost::DecodeError),
}

/// Reads the frames of one stream, in their order.
#[derive(Debug)]
pub struct Reader {
    ends: Arc<Ends>,
    /// By their numbers.
    known: Vec<Option<(Path, CompletionClock)>>,
}

impl Reader {
    /// Of a stream that begins.
    pub const fn new(ends: Arc<Ends>) -> Self {
        let known = Vec::new();
        Self { ends, known }
    }

    /// Reads the next frame.
    ///
    /// # Errors
    /// [`FrameError`]. Items of which something else cannot be read are left out by themselves ([`FrameShard::items`]).
    pub fn read(&mut self, frame: v1::RelayFrame) -> Result<Frame, FrameError> {
        if let Some(paths) = &frame.paths {
            self.learn(paths)?;
        }
        let items = frame.shards.iter().flat_map(|shard| &shard.items);
        let reports = items.fold(0, |sum: usize, item| {
            sum.saturating_add(item.reports as usize)
        });
        if reports > MOST_REPORTS {
            return Err(FrameError::Reports);
        }
        let mut columns = Columns::open(&frame.reports.unwrap_or_default())?;
        let mut shards = Vec::with_capacity(frame.shards.len());
        for v1::RelayedShard { shard, items } in frame.shards {
            let shard = convert::required("shard", shard).and_then(ShardEpoch::try_from);
            let mut read = Vec::with_capacity(items.len());
            for item in items {
                // Whatever else is wrong with it, its reports are taken off the columns.
                let reports = self.reports(&item, &mut columns)?;
                read.push(self.item(item, reports));
            }
            shards.push(FrameShard { shard, items: read });
        }
        columns.end()?;
        Ok(Frame {
            number: frame.number,
            shards,
            caught_up: frame.caught_up,
        })
    }

    fn learn(&mut self, message: &v1::RelayedPaths) -> Result<(), FrameError> {
        let ends = message.ends.iter().map(|end| self.ends.read(end));
        let ends: Vec<Result<Arc<End>, ReportError>> = ends.collect::<Result<_, _>>()?;
        for path in &message.paths {
            let number = path.number;
            let at = number as usize;
            if at >= MOST_PATHS {
                return Err(FrameError::Number(number.into()));
            }
            let described = described(path, &ends);
            let described = described.map_err(|error| FrameError::Path { number, error })?;
            if at >= self.known.len() {
                self.known.resize(at + 1, None);
            }
            self.known[at] = Some(described);
        }
        Ok(())
    }

    fn reports(
        &self,
        item: &v1::RelayedItem,
        columns: &mut Columns,
    ) -> Result<Vec<PathReport>, FrameError> {
        let mut reports = Vec::with_capacity((item.reports as usize).min(columns.left()));
        let mut number = u64::from(item.first_path);
        for _ in 0..item.reports {
            let read = columns.next()?;
            number = number.saturating_add(read.gap);
            let known = usize::try_from(number)
                .ok()
                .and_then(|at| self.known.get(at));
            let (path, clock) = known
                .and_then(Option::as_ref)
                .ok_or(FrameError::Unknown(number))?;
            reports.push(PathReport {
                path: path.clone(),
                clock: *clock,
                lost: read.lost,
                invalid: read.invalid,
                samples: read.samples,
            });
        }
        Ok(reports)
    }

    fn item(&self, item: v1::RelayedItem, reports: Vec<PathReport>) -> Result<Item, ItemError> {
        let agent = convert::name("agent_id", item.agent_id)?;
        let host = HostName::new(convert::optional_text("host", item.host)?);
        let version = convert::optional_text("version", item.version)?;
        let content = match item.state {
            Some(state) => Content::State(Box::new(state.into())),
            None => {
                let mut received = Received::read(&item.batch, &self.ends)?;
                let refused = usize::try_from(item.refused).unwrap_or(usize::MAX);
                let (path, why) = (cut(&item.refused_path), cut(&item.refusal));
                received.refused.add_told(refused, path, why);
                received.batch.paths.extend(reports);
                Content::Batch {
                    received: Box::new(received.of_host(&host)),
                    standing: Standing {
                        newest: item.newest_sequence,
                        taken: item.taken,
                        lost: item.lost,
                    },
                }
            }
        };
        Ok(Item {
            sender: Sender {
                agent,
                spool: SpoolId(item.spool_id),
            },
            host,
            version: (!version.is_empty()).then(|| AgentVersion::new(version)),
            again: item.again,
            late: item.late,
            content,
        })
    }
}

fn described(
    message: &v1::RelayedPath,
    ends: &[Result<Arc<End>, ReportError>],
) -> Result<(Path, CompletionClock), ReportError> {
    let end = |place: u32, what| {
        let end = ends.get(place as usize).ok_or(ReportError::Missing(what))?;
        end.clone()
    };
    let kind = kind_from(message.kind, message.focused)?;
    let service = match (name(message.service.as_str(), "service")?, kind) {
        ("", _) => None,
        (service, ProbeKind::ServiceTracing) => Some(ServiceName::new(service)),
        _ => return Err(ReportError::Service),
    };
    let port = u16::try_from(message.source_port);
    let port = port.map_err(|_| ReportError::SourcePort(message.source_port))?;
    let path = Path {
        source: end(message.source, "source")?,
        target: end(message.target, "target")?,
        kind,
        source_port: (port != 0).then_some(UdpSourcePort(port)),
        service,
        class: class_from(message.traffic_class, message.service_level)?,
        fidelity: fidelity_from(message.fidelity).filter(|_| kind == ProbeKind::ServiceTracing),
    };
    Ok((path, clock_from(message.clock)?))
}
