//! Who leads: the rules of client-go's leader election, without its clock.
//!
//! A lease is taken when nobody holds it, or when its holder has not renewed it for as long as the lease lasts **by the
//! observer's own clock**: the times that are written in the lease come from other machines and are never compared.

use std::time::Duration;

/// How long things last. client-go's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Without a renewal for this long, another may take the lease.
    pub lease: Duration,
    /// Without a renewal for this long, the holder stops: well before another may begin.
    pub renew: Duration,
    /// Pause between two tries.
    pub retry: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self { lease: Duration::from_secs(15), renew: Duration::from_secs(10), retry: Duration::from_secs(2) }
    }
}

/// A lease as it was last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Who holds it; empty if nobody.
    pub holder: String,
    /// How long its holder said that it lasts.
    pub lease: Duration,
    /// The version of the object: another one means that it was renewed or taken.
    pub version: String,
}

/// What is known of the lease, by this process's own monotonic clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Election {
    seen: Option<Seen>,
    seen_at: Duration,
}

/// What to do about the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// There is none: create it.
    Create,
    /// Take it from nobody, or from a holder that is gone.
    Take,
    /// It is ours: renew it.
    Renew,
    /// Another holds it.
    Wait,
}

impl Election {
    /// Takes in what the API server has, at `now`.
    pub fn observe(&mut self, seen: Option<Seen>, now: Duration) {
        if self.seen != seen {
            self.seen = seen;
            self.seen_at = now;
        }
    }

    /// What `me` should do.
    #[must_use]
    pub fn next(&self, me: &str, now: Duration) -> Move {
        match &self.seen {
            None => Move::Create,
            Some(seen) if seen.holder == me => Move::Renew,
            Some(seen) if seen.holder.is_empty() => Move::Take,
            Some(seen) if now.saturating_sub(self.seen_at) >= seen.lease => Move::Take,
            Some(_) => Move::Wait,
        }
    }
}

/// Until when a holder may write that began its last successful renewal at `renewed`. It counts from when the request
/// was begun, not from when its answer came: the API server may have carried it out at any time between.
#[must_use]
pub const fn writes_until(terms: Terms, renewed: Duration) -> Duration {
    renewed.saturating_add(terms.renew)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn held(holder: &str, version: &str) -> Seen {
        Seen { holder: holder.to_owned(), lease: seconds(15), version: version.to_owned() }
    }

    #[test]
    fn a_lease_is_taken_only_when_its_holder_has_been_silent_for_all_of_it() {
        let mut election = Election::default();
        assert_eq!(election.next("me", seconds(0)), Move::Create);
        election.observe(Some(held("other", "1")), seconds(100));
        assert_eq!(election.next("me", seconds(114)), Move::Wait);
        // Seeing the same again is no sign of life.
        election.observe(Some(held("other", "1")), seconds(114));
        assert_eq!(election.next("me", seconds(115)), Move::Take);
        election.observe(Some(held("other", "2")), seconds(115));
        assert_eq!(election.next("me", seconds(129)), Move::Wait);
    }

    #[test]
    fn a_lease_that_was_given_back_is_taken_at_once() {
        let mut election = Election::default();
        election.observe(Some(held("", "3")), seconds(7));
        assert_eq!(election.next("me", seconds(7)), Move::Take);
    }

    #[test]
    fn ours_is_renewed_however_long_we_slept() {
        let mut election = Election::default();
        election.observe(Some(held("me", "1")), seconds(0));
        assert_eq!(election.next("me", seconds(1000)), Move::Renew);
    }

    /// A holder has stopped writing before anybody else may begin, whatever the delays.
    #[test]
    fn two_never_write_at_once() {
        let terms = Terms::default();
        assert!(terms.renew + seconds(2) <= terms.lease);
        // The renewal was begun at 0, carried out at once, and seen by the other at the earliest at 0.
        assert!(writes_until(terms, seconds(0)) < seconds(0) + terms.lease);
    }
}
