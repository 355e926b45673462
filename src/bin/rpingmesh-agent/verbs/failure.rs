//! What a failed call means and what to do about it.

use std::io;

use rpingmesh::transport::rdma_report::Trouble;
use rpingmesh::transport::{RnicName, TransportError};
use rustix::process::{Resource, getrlimit};

/// What to do where a device's file may not be opened.
const CLOSED: &str =
    "open the devices below /dev/infiniband to this user (udev group `rdma`) or run as root";

/// What to do where a device's file is not found: libibverbs looks elsewhere for one that it may not open, and reports
/// that it found none.
const ABSENT: &str = "its file is missing or may not be opened: in a container hand it in, on a host load `ib_uverbs`, or \
                      open the devices below /dev/infiniband to this user (udev group `rdma`)";

/// What to do where a device is in use by somebody who does not share it.
const BUSY: &str = "another program or driver has taken the device for itself: stop that one, or leave the device out with \
                    `devices`; it is tried again";

/// What to do where a device answers with an error.
const BROKEN: &str = "the device or its driver reports an error: look into the kernel's log (`dmesg`), reset the device or \
                      update its driver and firmware; it is tried again";

/// The error for a failed call on an RNIC.
pub(super) fn call(rnic: &RnicName, call: &'static str, source: io::Error) -> TransportError {
    match advice(call, &source) {
        Some(advice) => TransportError::Rnic {
            rnic: rnic.clone(),
            why: format!("{call} failed: {source}; {advice}"),
        },
        None => TransportError::System {
            rnic: rnic.clone(),
            call: call.to_owned(),
            source,
        },
    }
}

/// What a failed call means for a device or a port.
pub(super) fn trouble(call: &str, error: &io::Error) -> Trouble {
    Trouble {
        what: format!("{call} failed: {error}"),
        advice: advice(call, error),
    }
}

/// What to do about a failure, where the cause is known.
pub(super) fn advice(call: &str, error: &io::Error) -> Option<String> {
    match error.raw_os_error()? {
        libc::ENOMEM if call.starts_with("ibv_") => {
            Some(memlock_advice(getrlimit(Resource::Memlock).current))
        }
        libc::EPERM | libc::EACCES if call.starts_with("ibv_") => Some(CLOSED.to_owned()),
        libc::ENOENT if call == "ibv_open_device" => Some(ABSENT.to_owned()),
        libc::EBUSY if call.starts_with("ibv_") => Some(BUSY.to_owned()),
        libc::EIO | libc::ETIMEDOUT if call.starts_with("ibv_") => Some(BROKEN.to_owned()),
        libc::ENODEV | libc::ENXIO if call.starts_with("ibv_") => {
            Some("the device is being removed or reset; it is tried again".to_owned())
        }
        libc::ENOSYS | libc::ENOENT if call == "ibv_get_device_list" => {
            Some("the kernel's side is missing: `modprobe ib_uverbs`".to_owned())
        }
        _ => None,
    }
}

/// `limit` in bytes; `None` is no limit.
fn memlock_advice(limit: Option<u64>) -> String {
    match limit {
        Some(limit) => format!(
            "the limit of locked memory (RLIMIT_MEMLOCK) is {} KiB, which may be too low: raise it with `ulimit -l`, \
             `LimitMEMLOCK=` of the systemd unit or limits.conf, or give the process CAP_IPC_LOCK",
            limit / 1024
        ),
        None => "the device or the host has no memory left for it: lower the depth or the number of queue pairs".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rnic() -> RnicName {
        RnicName {
            device: "rxe0".into(),
            port: 1,
        }
    }

    #[test]
    fn too_little_locked_memory_names_the_limit_and_how_to_raise_it() {
        insta::assert_snapshot!(
            memlock_advice(Some(65536)),
            @"the limit of locked memory (RLIMIT_MEMLOCK) is 64 KiB, which may be too low: raise it with `ulimit -l`, `LimitMEMLOCK=` of the systemd unit or limits.conf, or give the process CAP_IPC_LOCK"
        );
        let error = call(
            &rnic(),
            "ibv_reg_mr",
            io::Error::from_raw_os_error(libc::ENOMEM),
        );
        assert!(
            error
                .to_string()
                .starts_with("RNIC rxe0/1: ibv_reg_mr failed: "),
            "{error}"
        );
    }

    #[test]
    fn a_file_that_may_not_be_opened_is_not_called_missing() {
        for code in [libc::EACCES, libc::EPERM, libc::ENOENT] {
            let error = io::Error::from_raw_os_error(code);
            let advice = advice("ibv_open_device", &error).expect("advice");
            assert!(advice.contains("/dev/infiniband"), "{advice}");
        }
    }

    #[test]
    fn advice_fits_the_cause() {
        let given = |code| {
            let error = io::Error::from_raw_os_error(code);
            trouble("ibv_query_port", &error).advice.unwrap_or_default()
        };
        assert!(given(libc::EIO).contains("dmesg"));
        assert!(given(libc::EBUSY).contains("another program"));
        assert!(given(libc::ENODEV).contains("removed"));
        assert!(given(libc::EACCES).contains("/dev/infiniband"));
        // A port's file is not what is missing here.
        assert_eq!(given(libc::ENOENT), "");
        assert_eq!(given(libc::EINVAL), "");
    }

    #[test]
    fn other_failures_keep_their_cause() {
        let error = call(
            &rnic(),
            "ibv_create_qp (UD)",
            io::Error::from_raw_os_error(libc::EINVAL),
        );
        assert!(matches!(
            error,
            TransportError::System { source, .. } if source.raw_os_error() == Some(libc::EINVAL)
        ));
    }
}
