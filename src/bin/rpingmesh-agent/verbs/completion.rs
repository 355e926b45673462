//! The completion queue of an endpoint, with the best clock that the device has.
#![allow(
    unsafe_code,
    reason = "calls into libibverbs through the completion queue's function table"
)]

use std::io;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdma_core_sys::{abi, inline};
use rpingmesh::time::{Clock, HostTime, Nanos, NicTime, SystemClock};
use rpingmesh::transport::CompletionClock;

use super::clock::RawClock;
use super::handles::{Attributes, Channel, Context, check};

/// One completion, as the device reports it. Unknown codes are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct WorkCompletion {
    /// As posted.
    pub(super) id: u64,
    /// `ibv_wc_status`; only `id` means something unless it is `IBV_WC_SUCCESS`.
    pub(super) status: u32,
    /// Bytes received, with the GRH.
    pub(super) length: u32,
    /// The sender's QPN.
    pub(super) source_qpn: u32,
    /// `ibv_wc_flags`.
    pub(super) flags: u32,
    /// When it completed.
    pub(super) at: NicTime,
}

/// The completion queue itself, which queue pairs keep alive.
pub(super) struct CqHandle {
    /// An `ibv_cq`; the head of an `ibv_cq_ex` where `extended`.
    raw: NonNull<abi::ibv_cq>,
    extended: bool,
    _channel: Arc<Channel>,
    context: Arc<Context>,
}

// SAFETY: libibverbs' verbs are thread-safe; polling, which is not, needs the `CompletionQueue`.
unsafe impl Send for CqHandle {}
// SAFETY: as above.
unsafe impl Sync for CqHandle {}

impl CqHandle {
    /// For calls that take it.
    pub(super) fn raw(&self) -> *mut abi::ibv_cq {
        self.raw.as_ptr()
    }
}

impl Drop for CqHandle {
    fn drop(&mut self) {
        // SAFETY: queue pairs hold their CQ, so none is left; the channel, dropped afterwards, acknowledged its events.
        unsafe { (self.context.library().ibv_destroy_cq)(self.raw()) };
    }
}

#[derive(Debug, Clone)]
enum Stamps {
    Wall,
    Raw(RawClock),
    Software,
}

/// A kind of completion queue: extended or plain, and what stamps its completions.
#[derive(Debug, Clone)]
pub(super) struct Format {
    /// The flag that asks for its stamps; `None` for a plain queue.
    flag: Option<u64>,
    stamps: Stamps,
}

impl Format {
    /// Those to try, best first: stamps of the device's wall clock, raw ones, none, and a plain queue. A driver may refuse
    /// one when the completion queue is made, or only when a queue pair is. `extended` is whether extended ones are allowed.
    pub(super) fn candidates(attributes: &Attributes, extended: bool) -> Vec<Self> {
        let mut formats = Vec::new();
        if extended {
            let candidates = stamp_candidates(attributes).into_iter();
            formats.extend(candidates.map(|(flag, stamps)| Self {
                flag: Some(flag),
                stamps,
            }));
        }
        formats.push(Self::plain());
        formats
    }

    /// A plain queue, which every driver has.
    pub(super) fn plain() -> Self {
        Self {
            flag: None,
            stamps: Stamps::Software,
        }
    }

    /// Which clock it has.
    pub(super) fn clock(&self) -> CompletionClock {
        match self.stamps {
            Stamps::Wall => CompletionClock::HardwareWall,
            Stamps::Raw(_) => CompletionClock::HardwareRaw,
            Stamps::Software => CompletionClock::Software,
        }
    }
}

/// The one who polls.
pub(super) struct CompletionQueue {
    handle: Arc<CqHandle>,
    clock: CompletionClock,
    stamps: Stamps,
    /// The last hardware stamp, which stands in for those of failed completions: they have none.
    last: NicTime,
}

/// What every extended CQ must be able to read.
const READS: u64 = abi::IBV_WC_EX_WITH_BYTE_LEN | abi::IBV_WC_EX_WITH_SRC_QP;

/// Completions that one call of a plain CQ takes.
const BATCH: usize = 32;

/// The shortest reach of a counter that is used: twice the time that a probe is waited for unless configured otherwise. The
/// stamps of one probe lie no further apart. Linux' irdma tells of a counter of 17 bits (`HCA_CLOCK_TIMESTAMP_MASK`).
const SHORTEST_REACH: Nanos = Nanos(1_000_000_000);

impl CompletionQueue {
    /// Makes one of this format.
    ///
    /// # Errors
    /// The driver refuses it.
    pub(super) fn new(
        context: &Arc<Context>,
        channel: &Arc<Channel>,
        depth: u32,
        format: Format,
    ) -> io::Result<Self> {
        let raw = match format.flag {
            Some(flag) => create_extended(context, channel, depth, READS | flag)?.cast(),
            None => create_plain(context, channel, depth)?,
        };
        Ok(Self {
            handle: Arc::new(CqHandle {
                raw,
                extended: format.flag.is_some(),
                _channel: Arc::clone(channel),
                context: Arc::clone(context),
            }),
            clock: format.clock(),
            stamps: format.stamps,
            last: NicTime::from_nanos(0),
        })
    }

    /// What queue pairs are made with.
    pub(super) fn handle(&self) -> &Arc<CqHandle> {
        &self.handle
    }

    /// Which clock stamps.
    pub(super) fn clock(&self) -> CompletionClock {
        self.clock
    }

    /// A time for what failed before the device saw it: now, or the last stamp of a hardware clock.
    pub(super) fn now(&self) -> NicTime {
        match self.stamps {
            Stamps::Software => software_stamp(),
            Stamps::Wall | Stamps::Raw(_) => self.last,
        }
    }

    /// When a completed send left. Without a hardware clock, it is the beginning of the call that posted it: the one
    /// moment that is never after the departure. The call can return, and the completion be seen, only after the answer
    /// has arrived, which would make round trips negative.
    pub(super) fn departure(&self, completion: &WorkCompletion, posted: HostTime) -> NicTime {
        match self.stamps {
            Stamps::Software => NicTime::from_nanos(posted.nanos()),
            Stamps::Wall | Stamps::Raw(_) => completion.at,
        }
    }

    /// Appends up to `limit` completions that are there.
    ///
    /// # Errors
    /// The CQ is broken.
    pub(super) fn poll(&mut self, out: &mut Vec<WorkCompletion>, limit: usize) -> io::Result<()> {
        if self.handle.extended {
            self.poll_extended(out, limit)
        } else {
            self.poll_plain(out, limit)
        }
    }

    /// Asks for one notification when the next completion comes.
    pub(super) fn request_notification(&self) -> io::Result<()> {
        // SAFETY: the CQ is alive.
        check(unsafe { inline::ibv_req_notify_cq(self.handle.raw()) })
    }

    fn poll_plain(&mut self, out: &mut Vec<WorkCompletion>, limit: usize) -> io::Result<()> {
        let mut entries = [abi::ibv_wc::default(); BATCH];
        let mut left = limit;
        while left > 0 {
            let wanted = left.min(BATCH);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_possible_wrap,
                reason = "at most BATCH"
            )]
            // SAFETY: the CQ is alive and the array has room for that many.
            let taken = unsafe {
                inline::ibv_poll_cq(self.handle.raw(), wanted as i32, entries.as_mut_ptr())
            };
            let taken = usize::try_from(taken)
                .ok()
                .filter(|taken| *taken <= wanted)
                .ok_or_else(|| {
                    io::Error::other(format!(
                        "ibv_poll_cq gave {taken} where {wanted} were asked for"
                    ))
                })?;
            for entry in entries.iter().take(taken) {
                out.push(WorkCompletion {
                    id: entry.wr_id,
                    status: entry.status,
                    length: entry.byte_len,
                    source_qpn: entry.src_qp,
                    flags: entry.wc_flags,
                    at: software_stamp(),
                });
            }
            if taken < wanted {
                break;
            }
            left -= taken;
        }
        Ok(())
    }

    /// Takes each completion in a polling block of its own: when `next_poll` finds nothing, the rxe provider ends the
    /// block by itself and an `end_poll` would skip an entry (rdma-core `providers/rxe/rxe.c`), while other providers
    /// need that `end_poll`.
    fn poll_extended(&mut self, out: &mut Vec<WorkCompletion>, limit: usize) -> io::Result<()> {
        let cq: *mut abi::ibv_cq_ex = self.handle.raw().cast();
        for _ in 0..limit {
            // SAFETY: the CQ is alive and extended, and nobody else polls it: `self` is borrowed exclusively.
            match unsafe { inline::ibv_start_poll(cq) } {
                0 => {}
                libc::ENOENT => break,
                code => return check(code),
            }
            let completion = self.read(cq);
            out.push(completion);
            // SAFETY: once after a start that gave 0.
            unsafe { inline::ibv_end_poll(cq) };
        }
        Ok(())
    }

    /// Reads the current completion of an extended CQ that is being polled.
    fn read(&mut self, cq: *mut abi::ibv_cq_ex) -> WorkCompletion {
        // SAFETY: the caller is between start and end of polling this CQ. The members other than id and status mean
        // nothing on failure, and reading them is allowed.
        unsafe {
            let status = (*cq).status;
            let succeeded = status == abi::IBV_WC_SUCCESS;
            let stamp = match &mut self.stamps {
                Stamps::Software => Some(software_stamp()),
                _ if !succeeded => None,
                Stamps::Wall => inline::ibv_wc_read_completion_wallclock_ns(cq)
                    .map(|nanos| NicTime::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))),
                Stamps::Raw(clock) => {
                    inline::ibv_wc_read_completion_ts(cq).map(|ticks| clock.convert(ticks))
                }
            };
            self.last = stamp.unwrap_or(self.last);
            let number = |read: unsafe fn(*mut abi::ibv_cq_ex) -> Option<u32>| {
                succeeded.then(|| read(cq)).flatten().unwrap_or(0)
            };
            WorkCompletion {
                id: (*cq).wr_id,
                status,
                length: number(inline::ibv_wc_read_byte_len),
                source_qpn: number(inline::ibv_wc_read_src_qp),
                flags: number(inline::ibv_wc_read_wc_flags),
                at: self.last,
            }
        }
    }
}

/// The kinds of stamps to try, best first, with the flag that asks for each.
fn stamp_candidates(attributes: &Attributes) -> Vec<(u64, Stamps)> {
    let mut candidates = Vec::new();
    if attributes.timestamp_mask != 0 {
        candidates.push((
            abi::IBV_WC_EX_WITH_COMPLETION_TIMESTAMP_WALLCLOCK,
            Stamps::Wall,
        ));
        let clock = RawClock::new(attributes.timestamp_mask, attributes.core_clock_khz);
        if let Some(clock) = clock.filter(|clock| clock.reach() >= SHORTEST_REACH) {
            candidates.push((abi::IBV_WC_EX_WITH_COMPLETION_TIMESTAMP, Stamps::Raw(clock)));
        }
    }
    candidates.push((0, Stamps::Software));
    candidates
}

fn create_extended(
    context: &Context,
    channel: &Channel,
    depth: u32,
    wc_flags: u64,
) -> io::Result<NonNull<abi::ibv_cq_ex>> {
    let mut attr = abi::ibv_cq_init_attr_ex {
        cqe: depth,
        cq_context: ptr::null_mut(),
        channel: channel.raw(),
        comp_vector: 0,
        wc_flags,
        comp_mask: 0,
        flags: 0,
        parent_domain: ptr::null_mut(),
    };
    // SAFETY: context and channel are alive and belong together.
    let created = unsafe { inline::ibv_create_cq_ex(context.raw(), &raw mut attr) };
    NonNull::new(created.map_err(io::Error::from_raw_os_error)?)
        .ok_or_else(io::Error::last_os_error)
}

fn create_plain(
    context: &Context,
    channel: &Channel,
    depth: u32,
) -> io::Result<NonNull<abi::ibv_cq>> {
    let depth = i32::try_from(depth).unwrap_or(i32::MAX);
    // SAFETY: context and channel are alive and belong together.
    let raw = unsafe {
        (context.library().ibv_create_cq)(context.raw(), depth, ptr::null_mut(), channel.raw(), 0)
    };
    NonNull::new(raw).ok_or_else(io::Error::last_os_error)
}

/// The host's monotonic clock stands in for the device's.
fn software_stamp() -> NicTime {
    NicTime::from_nanos(SystemClock.host().nanos())
}
