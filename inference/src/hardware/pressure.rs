//! Memory in use against the limit, and what is done about it before the kernel does.

/// How near the limit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    #[default]
    None,
    /// It is logged, and freed memory is given back to the system.
    High,
    /// Lines are read one by one.
    Higher,
    /// Pages are read one by one.
    Highest,
    /// The next strategy, which takes less, is used from now on.
    Critical,
}

/// From this share of the limit on, in percent.
const FROM: [(Pressure, u64); 4] =
    [(Pressure::Critical, 95), (Pressure::Highest, 90), (Pressure::Higher, 85), (Pressure::High, 80)];

/// How far below its share the memory must fall for a pressure to end, in percent of the limit: what was done against it
/// must not bring it back at once.
const SLACK: u64 = 10;

impl Pressure {
    /// In a word, for logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::High => "high",
            Self::Higher => "higher",
            Self::Highest => "highest",
            Self::Critical => "critical",
        }
    }

    /// The pressure now, from what it was.
    ///
    /// Of a limit of 1000 MiB, 860 in use are `Higher`; it stays so until 750 are in use.
    #[must_use]
    pub fn next(self, used: u64, limit: u64) -> Self {
        let percent = used.saturating_mul(100) / limit.max(1);
        let at =
            |slack: u64| FROM.into_iter().find(|(_, from)| percent + slack >= *from).map_or(Self::None, |(it, _)| it);
        at(0).max(self.min(at(SLACK)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pressure_rises_at_its_shares_and_falls_later() {
        use Pressure::{Critical, High, Higher, Highest, None};
        // Before, used of 1000; after.
        let rows = [
            (None, 799, None),
            (None, 800, High),
            (None, 849, High),
            (None, 850, Higher),
            (None, 900, Highest),
            (None, 950, Critical),
            (None, 1200, Critical),
            (High, 750, High),
            (High, 700, High),
            (High, 699, None),
            (Higher, 760, Higher),
            (Higher, 749, High),
            (Higher, 699, None),
            (Critical, 850, Critical),
            (Critical, 849, Highest),
            (Critical, 100, None),
        ];
        for (before, used, after) in rows {
            assert_eq!(before.next(used, 1000), after, "{before:?} at {used}");
        }
    }
}
