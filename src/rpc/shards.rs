//! Conversions of shards and of what an agent is told of its analyzer.

use super::convert::{FieldError, required};
use super::v1;
use crate::analysis::shards::ShardId;
use crate::net::url::Url;

/// A shard for as long as it has one owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardEpoch {
    /// The shard.
    pub shard: ShardId,
    /// Grows with each change of the owner, from 1.
    pub epoch: i64,
}

/// Where an agent's results belong, as the controller says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The analyzer.
    pub analyzer: Url,
    /// The agent's shard.
    pub shard: ShardEpoch,
}

impl From<ShardEpoch> for v1::ShardEpoch {
    fn from(ShardEpoch { shard, epoch }: ShardEpoch) -> Self {
        Self {
            shard: shard.number().into(),
            epoch: u64::try_from(epoch).unwrap_or_default(),
        }
    }
}

impl TryFrom<v1::ShardEpoch> for ShardEpoch {
    type Error = FieldError;

    fn try_from(message: v1::ShardEpoch) -> Result<Self, FieldError> {
        let shard = u16::try_from(message.shard).ok().and_then(ShardId::new);
        let shard = shard.ok_or_else(|| FieldError::new("shard", "is no shard's number"))?;
        let epoch = i64::try_from(message.epoch).ok().filter(|epoch| *epoch > 0);
        let epoch = epoch.ok_or_else(|| FieldError::new("epoch", "is out of range"))?;
        Ok(Self { shard, epoch })
    }
}

impl From<&Assignment> for v1::AnalyzerAssignment {
    fn from(assignment: &Assignment) -> Self {
        Self {
            url: assignment.analyzer.to_string(),
            shard: Some(assignment.shard.into()),
        }
    }
}

impl TryFrom<v1::AnalyzerAssignment> for Assignment {
    type Error = FieldError;

    fn try_from(message: v1::AnalyzerAssignment) -> Result<Self, FieldError> {
        let analyzer = Url::server(&message.url);
        let analyzer = analyzer.map_err(|error| FieldError::new("url", error.to_string()))?;
        let shard = ShardEpoch::try_from(required("shard", message.shard)?);
        Ok(Self {
            analyzer,
            shard: shard.map_err(|error| error.within("shard"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_come_back_and_bad_ones_name_the_field() {
        let shard = ShardEpoch {
            shard: ShardId::new(63).expect("there"),
            epoch: 7,
        };
        let assignment = Assignment {
            analyzer: Url::server("https://a.example:7471").expect("a URL"),
            shard,
        };
        let message = v1::AnalyzerAssignment::from(&assignment);
        assert_eq!(Assignment::try_from(message.clone()), Ok(assignment));
        let bad = |change: &dyn Fn(&mut v1::AnalyzerAssignment)| {
            let mut message = message.clone();
            change(&mut message);
            let error = Assignment::try_from(message).expect_err("bad");
            error.to_string()
        };
        insta::assert_snapshot!(
            [
                bad(&|message| message.url = "a.example".to_owned()),
                bad(&|message| message.shard = None),
                bad(&|message| message.shard = Some(v1::ShardEpoch { shard: 64, epoch: 1 })),
                bad(&|message| message.shard = Some(v1::ShardEpoch { shard: 3, epoch: 0 })),
                bad(&|message| message.shard = Some(v1::ShardEpoch { shard: 3, epoch: u64::MAX })),
            ]
            .join("\n"),
            @r"
        url: `a.example` is not a server URL such as https://controller.example:7470: it must begin with https:// (or http:// without TLS)
        shard: is missing
        shard.shard: is no shard's number
        shard.epoch: is out of range
        shard.epoch: is out of range
        "
        );
    }
}
