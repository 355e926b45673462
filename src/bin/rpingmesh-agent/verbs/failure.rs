//! What a failed call means and what to do about it.

use std::io;

use rpingmesh::transport::{RnicName, TransportError};
use rustix::process::{Resource, getrlimit};

/// What to do where a device's file cannot be opened.
const CLOSED: &str =
    "open the devices below /dev/infiniband to this user (udev group `rdma`) or run as root";

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

/// What to do about a failure, where the cause is known.
pub(super) fn advice(call: &str, error: &io::Error) -> Option<String> {
    match error.raw_os_error()? {
        libc::ENOMEM if call.starts_with("ibv_") => {
            Some(memlock_advice(getrlimit(Resource::Memlock).current))
        }
        libc::EPERM | libc::EACCES if call.starts_with("ibv_") => Some(CLOSED.to_owned()),
        // libibverbs looks elsewhere for a file that it may not open, and reports that it found none.
        libc::ENOENT if call == "ibv_open_device" => Some(CLOSED.to_owned()),
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
