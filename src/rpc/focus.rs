//! Messages of what is to be probed more.

use std::time::Duration;

use crate::id::UdpSourcePort;
use crate::pinglist::focus::{
    FocusCounts, FocusList, FocusRequest, FocusedTuple, LONGEST_VALID, MOST_TUPLES,
};

use super::convert::{self, FieldError};
use super::v1;

/// A list as messages.
pub(crate) fn to_messages(list: &FocusList) -> Vec<v1::FocusedRnic> {
    list.iter()
        .map(|(source, tuples)| v1::FocusedRnic {
            source_gid: convert::gid_bytes(*source),
            tuples: tuples
                .iter()
                .map(|tuple| v1::FocusedTuple {
                    target_gid: convert::gid_bytes(tuple.target),
                    source_port: tuple.port.0.into(),
                    portions: tuple.portions,
                })
                .collect(),
        })
        .collect()
}

/// A list of messages.
///
/// # Errors
/// The field that cannot be: an address, a port, no portion, more than [`MOST_TUPLES`] 5-tuples.
pub(crate) fn from_messages(rnics: Vec<v1::FocusedRnic>) -> Result<FocusList, FieldError> {
    let count: usize = rnics.iter().map(|rnic| rnic.tuples.len()).sum();
    if count > MOST_TUPLES {
        let why = format!("have {count} 5-tuples, at most {MOST_TUPLES} are accepted");
        return Err(FieldError::new("rnics", why));
    }
    let mut list = FocusList::new();
    for (index, rnic) in rnics.into_iter().enumerate() {
        let within = |error: FieldError| error.within(&format!("rnics[{index}]"));
        let source = convert::gid("source_gid", &rnic.source_gid).map_err(within)?;
        let tuples = list.entry(source).or_default();
        for (nth, message) in rnic.tuples.into_iter().enumerate() {
            let tuple =
                tuple(&message).map_err(|error| within(error.within(&format!("tuples[{nth}]"))))?;
            tuples.push(tuple);
        }
    }
    Ok(list)
}

fn tuple(message: &v1::FocusedTuple) -> Result<FocusedTuple, FieldError> {
    let port = u16::try_from(message.source_port)
        .map_err(|_| FieldError::new("source_port", "is not a UDP port"))?;
    if message.portions == 0 {
        return Err(FieldError::new("portions", "is 0, expected at least 1"));
    }
    Ok(FocusedTuple {
        target: convert::gid("target_gid", &message.target_gid)?,
        port: UdpSourcePort(port),
        portions: message.portions,
    })
}

/// The time for which something stands, at most [`LONGEST_VALID`].
pub(crate) fn valid(nanos: u64) -> Duration {
    Duration::from_nanos(nanos).min(LONGEST_VALID)
}

pub(crate) fn nanos(valid: Duration) -> u64 {
    u64::try_from(valid.as_nanos()).unwrap_or(u64::MAX)
}

impl TryFrom<v1::FocusRequest> for FocusRequest {
    type Error = FieldError;

    fn try_from(request: v1::FocusRequest) -> Result<Self, FieldError> {
        Ok(Self {
            run: request.run,
            number: request.number,
            valid: valid(request.valid_ns),
            list: from_messages(request.rnics)?,
        })
    }
}

impl From<&FocusRequest> for v1::FocusRequest {
    fn from(request: &FocusRequest) -> Self {
        Self {
            run: request.run,
            number: request.number,
            valid_ns: nanos(request.valid),
            rnics: to_messages(&request.list),
        }
    }
}

impl From<FocusCounts> for v1::FocusResponse {
    fn from(counts: FocusCounts) -> Self {
        Self {
            passed_on: counts.passed_on,
            unknown: counts.unknown,
            beyond: counts.beyond,
        }
    }
}

impl From<v1::FocusResponse> for FocusCounts {
    fn from(message: v1::FocusResponse) -> Self {
        Self {
            passed_on: message.passed_on,
            unknown: message.unknown,
            beyond: message.beyond,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::id::Gid;

    fn gid(last: u8) -> Gid {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn request() -> FocusRequest {
        let tuple = |target, port, portions| FocusedTuple {
            target: gid(target),
            port: UdpSourcePort(port),
            portions,
        };
        FocusRequest {
            run: 7,
            number: 3,
            valid: Duration::from_secs(5),
            list: FocusList::from([
                (gid(1), vec![tuple(2, 50_000, 3), tuple(3, 65_535, 1)]),
                (gid(2), vec![tuple(1, 49_152, 2)]),
            ]),
        }
    }

    #[test]
    fn a_request_comes_back_as_it_was() {
        let request = request();
        let message = v1::FocusRequest::from(&request);
        assert_eq!(FocusRequest::try_from(message), Ok(request));
    }

    #[test]
    fn what_cannot_be_is_named() {
        let refused = |change: fn(&mut v1::FocusRequest)| {
            let mut message = v1::FocusRequest::from(&request());
            change(&mut message);
            FocusRequest::try_from(message)
                .expect_err("it cannot be")
                .to_string()
        };
        let errors = [
            refused(|message| message.rnics[0].source_gid.truncate(3)),
            refused(|message| message.rnics[0].tuples[1].portions = 0),
            refused(|message| message.rnics[1].tuples[0].source_port = 65_536),
            refused(|message| {
                let tuple = message.rnics[0].tuples[0].clone();
                message.rnics[0].tuples = vec![tuple; MOST_TUPLES + 1];
            }),
        ];
        insta::assert_snapshot!(errors.join("\n"));
    }

    #[test]
    fn nothing_stands_for_long() {
        let mut message = v1::FocusRequest::from(&request());
        message.valid_ns = u64::MAX;
        let request = FocusRequest::try_from(message).expect("it can be");
        assert_eq!(request.valid, LONGEST_VALID);
    }
}
