//! Makes, connects and destroys queue pairs: what the VM scenarios measure the service tracer with.
//!
//! `qp-churn DEVICE GID_INDEX DESTINATION hold|loop|modify|connect COUNT`
//! - `hold`: makes COUNT connections, says `ready`, keeps them until its standard input ends;
//! - `loop`: makes, connects and destroys COUNT queue pairs one after the other, as fast as it can;
//! - `modify`: takes one queue pair COUNT times through INIT, RTR, RTS and RESET, and prints what a call took;
//! - `connect`: makes COUNT connections one after the other, each for 500 ms and 500 ms apart, and prints when each
//!   was taken to RTR and when it had ended, by the wall clock that stamps packet captures.
#![allow(
    unsafe_code,
    reason = "calls libibverbs; each pointer comes from it and is freed after its last use"
)]
#![cfg(target_os = "linux")]

use std::error::Error;
use std::ffi::CStr;
use std::io::Read as _;
use std::net::IpAddr;
use std::ptr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdma_core_sys::Library;
use rdma_core_sys::abi::{
    IBV_QP_ACCESS_FLAGS, IBV_QP_AV, IBV_QP_DEST_QPN, IBV_QP_MAX_DEST_RD_ATOMIC,
    IBV_QP_MIN_RNR_TIMER, IBV_QP_PATH_MTU, IBV_QP_PKEY_INDEX, IBV_QP_PORT, IBV_QP_RQ_PSN,
    IBV_QP_SQ_PSN, IBV_QP_STATE, IBV_QPS_INIT, IBV_QPS_RESET, IBV_QPS_RTR, IBV_QPS_RTS, IBV_QPT_RC,
    ibv_context, ibv_cq, ibv_pd, ibv_qp, ibv_qp_attr, ibv_qp_init_attr,
};

// Of verbs.h, for connected queue pairs only.
const IBV_MTU_1024: u32 = 3;
const IBV_QP_TIMEOUT: i32 = 1 << 9;
const IBV_QP_RETRY_CNT: i32 = 1 << 10;
const IBV_QP_RNR_RETRY: i32 = 1 << 11;
const IBV_QP_MAX_QP_RD_ATOMIC: i32 = 1 << 13;

/// The queue pair number of the peer. No such queue pair exists, and nothing is sent.
const REMOTE_QPN: u32 = 0x00ab_cdef;

/// How long a connection of `connect` lives, and the pause before the next.
const APART: Duration = Duration::from_millis(500);

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Device {
    library: Library,
    context: *mut ibv_context,
    pd: *mut ibv_pd,
    cq: *mut ibv_cq,
    gid_index: u8,
    destination: [u8; 16],
}

impl Device {
    fn open(name: &str, gid_index: u8, destination: [u8; 16]) -> Outcome<Self> {
        let library = Library::load()?;
        let mut count = 0;
        // SAFETY: `count` is writable.
        let list = unsafe { (library.ibv_get_device_list)(&raw mut count) };
        let mut context = ptr::null_mut();
        for index in 0..usize::try_from(count)? {
            // SAFETY: the list has `count` devices, whose names live as long as it does.
            let (device, found) = unsafe {
                let device = *list.add(index);
                (
                    device,
                    CStr::from_ptr((library.ibv_get_device_name)(device)),
                )
            };
            if found.to_str()? == name {
                // SAFETY: a device of the list.
                context = unsafe { (library.ibv_open_device)(device) };
            }
        }
        if context.is_null() {
            return Err(format!("no device {name}").into());
        }
        // SAFETY: the context is open.
        let pd = unsafe { (library.ibv_alloc_pd)(context) };
        // SAFETY: as above; the queue has no channel.
        let cq =
            unsafe { (library.ibv_create_cq)(context, 16, ptr::null_mut(), ptr::null_mut(), 0) };
        if pd.is_null() || cq.is_null() {
            return Err("no protection domain or completion queue".into());
        }
        Ok(Self {
            library,
            context,
            pd,
            cq,
            gid_index,
            destination,
        })
    }

    fn create(&self) -> Outcome<*mut ibv_qp> {
        // SAFETY: plain data, for which zeros are valid.
        let mut wanted: ibv_qp_init_attr = unsafe { std::mem::zeroed() };
        wanted.send_cq = self.cq;
        wanted.recv_cq = self.cq;
        wanted.qp_type = IBV_QPT_RC;
        wanted.cap.max_send_wr = 1;
        wanted.cap.max_recv_wr = 1;
        wanted.cap.max_send_sge = 1;
        wanted.cap.max_recv_sge = 1;
        // SAFETY: the domain and the queue live.
        let qp = unsafe { (self.library.ibv_create_qp)(self.pd, &raw mut wanted) };
        if qp.is_null() {
            return Err(format!("create_qp: {}", std::io::Error::last_os_error()).into());
        }
        Ok(qp)
    }

    fn modify(&self, qp: *mut ibv_qp, mut attributes: ibv_qp_attr, mask: i32) -> Outcome<()> {
        // SAFETY: the queue pair lives.
        let error = unsafe { (self.library.ibv_modify_qp)(qp, &raw mut attributes, mask) };
        if error != 0 {
            let error = std::io::Error::from_raw_os_error(error);
            return Err(format!("modify_qp to state {}: {error}", attributes.qp_state).into());
        }
        Ok(())
    }

    fn reset(&self, qp: *mut ibv_qp) -> Outcome<()> {
        self.modify(qp, to(IBV_QPS_RESET), IBV_QP_STATE)
    }

    fn init(&self, qp: *mut ibv_qp) -> Outcome<()> {
        let mut attributes = to(IBV_QPS_INIT);
        attributes.port_num = 1;
        self.modify(
            qp,
            attributes,
            IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS,
        )
    }

    fn ready_to_receive(&self, qp: *mut ibv_qp) -> Outcome<()> {
        let mut attributes = to(IBV_QPS_RTR);
        attributes.path_mtu = IBV_MTU_1024;
        attributes.dest_qp_num = REMOTE_QPN;
        attributes.max_dest_rd_atomic = 1;
        attributes.min_rnr_timer = 12;
        attributes.ah_attr.is_global = 1;
        attributes.ah_attr.port_num = 1;
        attributes.ah_attr.grh.sgid_index = self.gid_index;
        attributes.ah_attr.grh.hop_limit = 64;
        attributes.ah_attr.grh.flow_label = 0x12345;
        attributes.ah_attr.grh.dgid.raw = self.destination;
        self.modify(
            qp,
            attributes,
            IBV_QP_STATE
                | IBV_QP_AV
                | IBV_QP_PATH_MTU
                | IBV_QP_DEST_QPN
                | IBV_QP_RQ_PSN
                | IBV_QP_MAX_DEST_RD_ATOMIC
                | IBV_QP_MIN_RNR_TIMER,
        )
    }

    fn ready_to_send(&self, qp: *mut ibv_qp) -> Outcome<()> {
        let mut attributes = to(IBV_QPS_RTS);
        attributes.timeout = 14;
        attributes.retry_cnt = 7;
        attributes.rnr_retry = 7;
        attributes.max_rd_atomic = 1;
        self.modify(
            qp,
            attributes,
            IBV_QP_STATE
                | IBV_QP_TIMEOUT
                | IBV_QP_RETRY_CNT
                | IBV_QP_RNR_RETRY
                | IBV_QP_SQ_PSN
                | IBV_QP_MAX_QP_RD_ATOMIC,
        )
    }

    fn connect(&self) -> Outcome<*mut ibv_qp> {
        let qp = self.create()?;
        self.init(qp)?;
        self.ready_to_receive(qp)?;
        self.ready_to_send(qp)?;
        Ok(qp)
    }

    fn destroy(&self, qp: *mut ibv_qp) -> Outcome<()> {
        // SAFETY: the queue pair lives and is not used again.
        let error = unsafe { (self.library.ibv_destroy_qp)(qp) };
        if error != 0 {
            let error = std::io::Error::from_raw_os_error(error);
            return Err(format!("destroy_qp: {error}").into());
        }
        Ok(())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: in the reverse order of their making; queue pairs that are left make the calls fail, not more.
        unsafe {
            (self.library.ibv_destroy_cq)(self.cq);
            (self.library.ibv_dealloc_pd)(self.pd);
            (self.library.ibv_close_device)(self.context);
        }
    }
}

fn to(state: u32) -> ibv_qp_attr {
    // SAFETY: plain data, for which zeros are valid.
    let mut attributes: ibv_qp_attr = unsafe { std::mem::zeroed() };
    attributes.qp_state = state;
    attributes
}

fn hold(device: &Device, count: usize) -> Outcome<()> {
    let held = (0..count)
        .map(|_| device.connect())
        .collect::<Outcome<Vec<_>>>()?;
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    held.into_iter().try_for_each(|qp| device.destroy(qp))
}

fn churn(device: &Device, count: usize) -> Outcome<()> {
    let started = Instant::now();
    for _ in 0..count {
        let qp = device.connect()?;
        device.destroy(qp)?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let rate = f64::from(u32::try_from(count)?) / seconds;
    println!("{{\"queue_pairs\":{count},\"seconds\":{seconds:.3},\"per_second\":{rate:.0}}}");
    Ok(())
}

fn modify(device: &Device, count: usize) -> Outcome<()> {
    let qp = device.create()?;
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        device.init(qp)?;
        device.ready_to_receive(qp)?;
        device.ready_to_send(qp)?;
        device.reset(qp)?;
        took.push(started.elapsed().as_nanos() / 4);
    }
    device.destroy(qp)?;
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    println!(
        "{{\"rounds\":{count},\"p10_ns\":{},\"p50_ns\":{},\"p90_ns\":{}}}",
        at(10),
        at(50),
        at(90)
    );
    Ok(())
}

fn one_by_one(device: &Device, count: usize) -> Outcome<()> {
    for _ in 0..count {
        let qp = device.create()?;
        device.init(qp)?;
        // Before the call: the tracer may be faster than this process.
        let connected = wall_clock()?;
        device.ready_to_receive(qp)?;
        device.ready_to_send(qp)?;
        std::thread::sleep(APART);
        // SAFETY: the queue pair lives.
        let number = unsafe { (*qp).qp_num };
        device.destroy(qp)?;
        let ended = wall_clock()?;
        println!("{{\"qpn\":{number},\"rtr_unix_ns\":{connected},\"ended_unix_ns\":{ended}}}");
        std::thread::sleep(APART);
    }
    Ok(())
}

/// Nanoseconds since the Unix epoch.
fn wall_clock() -> Outcome<u128> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [device, gid_index, destination, what, count] = arguments.as_slice() else {
        return Err(
            "usage: qp-churn DEVICE GID_INDEX DESTINATION hold|loop|modify|connect COUNT".into(),
        );
    };
    let destination = match destination.parse()? {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    let device = Device::open(device, gid_index.parse()?, destination)?;
    let count = count.parse()?;
    match what.as_str() {
        "hold" => hold(&device, count),
        "loop" => churn(&device, count),
        "modify" => modify(&device, count),
        "connect" => one_by_one(&device, count),
        other => Err(format!("`{other}` is none of hold, loop, modify, connect").into()),
    }
}
