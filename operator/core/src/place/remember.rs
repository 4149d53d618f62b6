//! What the planner remembers lies in the pool's status, where it outlives the operator and anybody can read it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Known, Placed, mismatch::Replacements, spill::Memory};
use crate::{
    api::{ReplacedStatus, Strategy, StrategyStatus},
    rollout::Count,
};

/// What is known of a strategy, with what a status says of it. With another revision there may be other room: what was
/// remembered of the room holds no more, but when pods were last moved does.
#[must_use]
pub fn known(strategy: Strategy, count: Count, statuses: &[StrategyStatus], is_new_revision: bool) -> Known {
    let status = statuses.iter().find(|status| status.name == strategy);
    let at = |time: &Option<Time>| time.as_ref().map(|time| time.0);
    let memory = status.map_or_else(Memory::default, |status| Memory {
        room: status.room.filter(|_| !is_new_revision),
        spilled_at: at(&status.spilled_at),
        reclaimed_at: at(&status.reclaimed_at),
        free_since: at(&status.free_since).filter(|_| !is_new_revision),
    });
    let replaced = status.and_then(|status| status.replaced.as_ref());
    let replacements = replaced.map(|replaced| Replacements {
        revision: replaced.revision.clone(),
        count: replaced.count,
        last: replaced.last.0,
    });
    Known { strategy, count, memory, replacements }
}

/// The status of a strategy, without what is counted elsewhere.
#[must_use]
pub fn status(placed: &Placed) -> StrategyStatus {
    let Placed { strategy, wanted, replicas: _, leaving, verified, memory, replacements, why } = placed.clone();
    let Memory { room, spilled_at, reclaimed_at, free_since } = memory;
    let time = |at: Option<Timestamp>| at.map(Time);
    StrategyStatus {
        wanted,
        verified,
        leaving,
        reason: why.as_ref().map(|why| why.reason.to_owned()),
        message: why.map(|why| why.message),
        room,
        spilled_at: time(spilled_at),
        reclaimed_at: time(reclaimed_at),
        free_since: time(free_since),
        replaced: replacements.map(|past| ReplacedStatus {
            revision: past.revision,
            count: past.count,
            last: Time(past.last),
        }),
        ..StrategyStatus::new(strategy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let at = |second: i64| Timestamp::from_second(1_700_000_000 + second).unwrap();
        let placed = Placed {
            strategy: Strategy::GpuInt8,
            wanted: 1,
            replicas: 1,
            leaving: 2,
            verified: 3,
            memory: Memory {
                room: Some(4),
                spilled_at: Some(at(5)),
                reclaimed_at: Some(at(6)),
                free_since: Some(at(7)),
            },
            replacements: Some(Replacements { revision: "aaa".to_owned(), count: 8, last: at(9) }),
            why: None,
        };
        let written = [StrategyStatus::new(Strategy::GpuFp16), status(&placed)];
        let json = serde_json::to_string(&written).unwrap();
        let read: Vec<StrategyStatus> = serde_json::from_str(&json).unwrap();
        assert_eq!((read[1].wanted, read[1].leaving, read[1].verified), (1, 2, 3));
        let count = Count { replicas: 2, ready: 1 };
        let again = known(Strategy::GpuInt8, count, &read, false);
        assert_eq!((again.strategy, again.count), (Strategy::GpuInt8, count));
        assert_eq!((&again.memory, &again.replacements), (&placed.memory, &placed.replacements));
        let renewed = known(Strategy::GpuInt8, count, &read, true).memory;
        assert_eq!(renewed, Memory { room: None, free_since: None, ..placed.memory });
        assert_eq!(known(Strategy::Cpu, count, &read, false).memory, Memory::default());
    }

    /// As versions wrote it that placed nothing.
    #[test]
    fn an_older_status_remembers_nothing() {
        let older = r#"[{"name": "cpu", "wanted": 2, "scheduled": 2, "ready": 1}]"#;
        let read: Vec<StrategyStatus> = serde_json::from_str(older).unwrap();
        assert_eq!(read[0], StrategyStatus { wanted: 2, scheduled: 2, ready: 1, ..StrategyStatus::new(Strategy::Cpu) });
    }
}
