//! Conversions of hardware counters. What is wrong is refused by itself, like a report.

use std::fmt;

use super::v1;
use crate::analysis::hardware::{CounterName, MOST_COUNTERS, MOST_PORTS, PortRise};
use crate::id::{MAX_NAME, check_name};

/// Why the counters of a port, or one of them, were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HardwareError {
    /// A batch has the ports of one host.
    #[error("more than {MOST_PORTS} ports in one batch")]
    Ports,
    /// The device has no name, or one that is too long or has control characters.
    #[error("the device's name must have 1 to {MAX_NAME} bytes, all printable")]
    Device,
    /// Ports count from 1 and fit 8 bits.
    #[error("port {0} is not between 1 and 255")]
    Port(u32),
    /// Agents send those that tell of faults.
    #[error("more than {MOST_COUNTERS} counters of one port")]
    Counters,
    /// Not a name of a counter.
    #[error("a counter's name must have 1 to 64 letters, digits and underscores")]
    Name,
}

/// The usable ones; the first fault of each port goes to `refuse`, with the port's place in the message.
pub(super) fn rises(
    messages: Vec<v1::PortRise>,
    mut refuse: impl FnMut(fmt::Arguments<'_>, HardwareError),
) -> Vec<PortRise> {
    let mut rises = Vec::with_capacity(messages.len().min(MOST_PORTS));
    for (index, message) in messages.into_iter().enumerate() {
        let mut refuse = |error| refuse(format_args!("none, hardware counters {index}"), error);
        if index >= MOST_PORTS {
            // Once: they may be many.
            refuse(HardwareError::Ports);
            break;
        }
        match rise(message) {
            Ok((rise, fault)) => {
                if let Some(fault) = fault {
                    refuse(fault);
                }
                rises.push(rise);
            }
            Err(fault) => refuse(fault),
        }
    }
    rises
}

/// The port with its usable counters, and what is wrong with the others.
fn rise(message: v1::PortRise) -> Result<(PortRise, Option<HardwareError>), HardwareError> {
    let device = message.device;
    if device.is_empty() || check_name(&device).is_err() {
        return Err(HardwareError::Device);
    }
    let port = u8::try_from(message.port)
        .ok()
        .filter(|port| *port > 0)
        .ok_or(HardwareError::Port(message.port))?;
    let mut fault = (message.counters.len() > MOST_COUNTERS).then_some(HardwareError::Counters);
    let mut counters = Vec::with_capacity(message.counters.len().min(MOST_COUNTERS));
    for counter in message.counters.into_iter().take(MOST_COUNTERS) {
        match CounterName::new(&counter.name) {
            Some(name) if counter.by > 0 => counters.push((name, counter.by)),
            Some(_) => {}
            None => fault = Some(HardwareError::Name),
        }
    }
    let rise = PortRise {
        device: device.into(),
        port,
        counters,
    };
    Ok((rise, fault))
}

impl From<PortRise> for v1::PortRise {
    fn from(rise: PortRise) -> Self {
        Self {
            device: rise.device.as_str().to_owned(),
            port: rise.port.into(),
            counters: rise
                .counters
                .into_iter()
                .map(|(name, by)| v1::CounterRise {
                    name: name.as_str().to_owned(),
                    by,
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(device: &str, port: u32, counters: &[(&str, u64)]) -> v1::PortRise {
        v1::PortRise {
            device: device.to_owned(),
            port,
            counters: counters
                .iter()
                .map(|(name, by)| v1::CounterRise {
                    name: (*name).to_owned(),
                    by: *by,
                })
                .collect(),
        }
    }

    #[test]
    fn what_is_wrong_is_refused_by_itself() {
        let messages = vec![
            message(
                "mlx5_0",
                1,
                &[("symbol_error", 3), ("not a name", 1), ("idle", 0)],
            ),
            message("", 1, &[]),
            message("mlx5_0", 0, &[]),
            message("mlx5_0", 256, &[]),
            message("a\nb", 1, &[]),
        ];
        let mut refused = Vec::new();
        let rises = rises(messages, |_, error| refused.push(error));
        assert_eq!(rises.len(), 1);
        assert_eq!(rises[0].counters.len(), 1);
        let faults: Vec<_> = refused.iter().map(HardwareError::to_string).collect();
        insta::assert_snapshot!(faults.join("\n"), @r"
        a counter's name must have 1 to 64 letters, digits and underscores
        the device's name must have 1 to 256 bytes, all printable
        port 0 is not between 1 and 255
        port 256 is not between 1 and 255
        the device's name must have 1 to 256 bytes, all printable
        ");
    }

    #[test]
    fn too_much_is_cut_off_and_said_once() {
        let many: Vec<_> = (0..1000)
            .map(|_| message("mlx5_0", 1, &[("symbol_error", 1)]))
            .collect();
        let mut refused = Vec::new();
        assert_eq!(
            rises(many, |_, error| refused.push(error)).len(),
            MOST_PORTS
        );
        assert_eq!(refused.len(), 1);
        let names: Vec<_> = (0..1000).map(|number| format!("c{number}")).collect();
        let counters: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let mut refused = Vec::new();
        let rises = rises(vec![message("mlx5_0", 1, &counters)], |_, error| {
            refused.push(error);
        });
        assert_eq!(rises[0].counters.len(), MOST_COUNTERS);
        assert_eq!(refused.len(), 1);
    }

    proptest! {
        #[test]
        fn what_is_usable_comes_back(
            device in "[a-z0-9_]{1,20}", port in 1u8..,
            counters in prop::collection::vec(("[a-zA-Z0-9_]{1,64}", 1u64..), 0..MOST_COUNTERS),
        ) {
            let rise = PortRise {
                device: device.as_str().into(),
                port,
                counters: counters.iter().map(|(name, by)| (CounterName::new(name).expect("a name"), *by)).collect(),
            };
            let mut refused = Vec::new();
            prop_assert_eq!(rises(vec![rise.clone().into()], |_, error| refused.push(error)), vec![rise]);
            prop_assert!(refused.is_empty());
        }
    }
}
