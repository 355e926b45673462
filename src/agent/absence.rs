//! What is said of a server that is away: each reason once per absence, so that attempts do not fill the log, but a new
//! reason (it is there again and refuses our certificate) is not hidden behind the first.

/// Reasons told per absence; causes that vary without end would fill the log too.
const MOST_REASONS: usize = 8;

/// The absence of one server; empty while it is there.
#[derive(Debug, Default)]
pub(crate) struct Absence {
    told: Vec<String>,
}

impl Absence {
    /// Whether this reason has not been told in this absence.
    pub(crate) fn is_news(&mut self, reason: &str) -> bool {
        let news = self.told.len() < MOST_REASONS && !self.told.iter().any(|told| told == reason);
        if news {
            self.told.push(reason.to_owned());
        }
        news
    }

    /// The server is back. Whether it was said to be away.
    pub(crate) fn end(&mut self) -> bool {
        !std::mem::take(&mut self.told).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_once_per_absence() {
        let mut absence = Absence::default();
        assert!(!absence.end());
        let told: Vec<_> = ["refused", "refused", "wrong CA", "refused", "wrong CA"]
            .into_iter()
            .filter(|reason| absence.is_news(reason))
            .collect();
        assert_eq!(told, ["refused", "wrong CA"]);
        assert!(absence.end());
        assert!(!absence.end());
        assert!(absence.is_news("refused"));
    }

    #[test]
    fn reasons_without_end_do_not_fill_the_log() {
        let mut absence = Absence::default();
        let told = (0..100)
            .filter(|number| absence.is_news(&number.to_string()))
            .count();
        assert_eq!(told, MOST_REASONS);
    }
}
