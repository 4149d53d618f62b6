//! Requests that wait for a pod: in order, within bounds of number, bytes and time. Pure.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// What may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub requests: usize,
    /// Of all bodies together.
    pub bytes: u64,
    /// For one request.
    pub time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { requests: 100, bytes: 256 << 20, time: Duration::from_mins(1) }
    }
}

/// A request that waits.
#[derive(Debug)]
pub struct Waiting<T> {
    pub id: u64,
    pub since: Instant,
    bytes: u64,
    pub item: T,
}

/// The row of those that wait, first come first.
#[derive(Debug)]
pub struct Hold<T> {
    bounds: Bounds,
    row: VecDeque<Waiting<T>>,
    bytes: u64,
    next: u64,
}

impl<T> Hold<T> {
    /// An empty row.
    #[must_use]
    pub const fn new(bounds: Bounds) -> Self {
        Self { bounds, row: VecDeque::new(), bytes: 0, next: 0 }
    }

    /// Changes the bounds. Who waits already stays.
    pub const fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// The bounds.
    #[must_use]
    pub const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Requests that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.row.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.row.is_empty()
    }

    /// Bytes of their bodies.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How long the first has waited.
    #[must_use]
    pub fn oldest(&self, now: Instant) -> Option<Duration> {
        self.row.front().map(|first| now.saturating_duration_since(first.since))
    }

    /// Puts a request at the end, and says by which id it is taken out.
    ///
    /// # Errors
    /// With the request, where a bound is reached. A body alone may be as large as all together.
    pub fn push(&mut self, bytes: u64, item: T, now: Instant) -> Result<u64, T> {
        let is_full = self.row.len() >= self.bounds.requests
            || (!self.row.is_empty() && self.bytes.saturating_add(bytes) > self.bounds.bytes);
        if is_full {
            return Err(item);
        }
        self.next += 1;
        self.bytes += bytes;
        self.row.push_back(Waiting { id: self.next, since: now, bytes, item });
        Ok(self.next)
    }

    /// The request at a place, from the front.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<&Waiting<T>> {
        self.row.get(place)
    }

    /// All requests, from the front.
    pub fn iter(&self) -> impl Iterator<Item = &Waiting<T>> {
        self.row.iter()
    }

    /// Takes the request at a place out.
    pub fn take(&mut self, place: usize) -> Option<Waiting<T>> {
        let taken = self.row.remove(place)?;
        self.bytes = self.bytes.saturating_sub(taken.bytes);
        Some(taken)
    }

    /// Takes a request out by its id: its client left, or its time is over.
    pub fn remove(&mut self, id: u64) -> Option<Waiting<T>> {
        let place = self.row.iter().position(|one| one.id == id)?;
        self.take(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(requests: usize, bytes: u64) -> Hold<char> {
        Hold::new(Bounds { requests, bytes, time: Duration::from_mins(1) })
    }

    #[test]
    fn the_first_to_come_is_the_first_to_go() {
        let now = Instant::now();
        let mut hold = hold(3, 100);
        let ids = ['a', 'b', 'c'].map(|item| hold.push(10, item, now).unwrap());
        assert_eq!(hold.push(10, 'd', now), Err('d'));
        assert_eq!(hold.remove(ids[1]).unwrap().item, 'b');
        assert_eq!((hold.len(), hold.bytes()), (2, 20));
        assert_eq!(hold.take(0).unwrap().item, 'a');
        assert_eq!(hold.get(0).unwrap().item, 'c');
        assert!(hold.remove(ids[1]).is_none() && hold.take(1).is_none());
    }

    #[test]
    fn bytes_are_bounded_and_one_body_always_fits() {
        let now = Instant::now();
        let mut hold = hold(10, 100);
        hold.push(1000, 'a', now).unwrap();
        assert_eq!(hold.push(1, 'b', now), Err('b'));
        hold.take(0);
        assert_eq!(hold.bytes(), 0);
        hold.push(60, 'c', now).unwrap();
        hold.push(40, 'd', now).unwrap();
        assert_eq!(hold.push(1, 'e', now), Err('e'));
    }

    #[test]
    fn the_oldest_says_how_long_it_waits() {
        let now = Instant::now();
        let mut hold = hold(10, 100);
        assert_eq!(hold.oldest(now), None);
        hold.push(1, 'a', now).unwrap();
        hold.push(1, 'b', now + Duration::from_secs(1)).unwrap();
        assert_eq!(hold.oldest(now + Duration::from_secs(3)), Some(Duration::from_secs(3)));
        // A clock that seems to go back is no time.
        hold.take(0);
        assert_eq!(hold.oldest(now), Some(Duration::ZERO));
    }
}
