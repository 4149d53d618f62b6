//! Places for pages in work: what bounds memory. Their number can change while pages are in them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places for pages between decoding and answer.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    /// Free and taken ones.
    count: AtomicUsize,
    wanted: AtomicUsize,
}

/// A page's place. Dropping it lets the next page in, where the place is still wanted.
pub(super) struct Place {
    places: Arc<Places>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Places {
    /// So many places; at least one.
    pub fn new(count: usize) -> Arc<Self> {
        let count = count.max(1);
        Arc::new(Self {
            free: Arc::new(Semaphore::new(count)),
            count: AtomicUsize::new(count),
            wanted: AtomicUsize::new(count),
        })
    }

    /// How many are wanted now.
    pub fn wanted(&self) -> usize {
        self.wanted.load(Ordering::SeqCst)
    }

    /// Changes their number; at least one. Pages that are in work keep their places to their end.
    pub fn resize(&self, wanted: usize) {
        let wanted = wanted.max(1);
        self.wanted.store(wanted, Ordering::SeqCst);
        let count = self.count.load(Ordering::SeqCst);
        if wanted > count {
            self.count.fetch_add(wanted - count, Ordering::SeqCst);
            self.free.add_permits(wanted - count);
        } else {
            let gone = self.free.forget_permits(count - wanted);
            self.count.fetch_sub(gone, Ordering::SeqCst);
        }
    }

    /// Waits for a place. `None` never comes while the reader is there.
    pub async fn take(self: &Arc<Self>) -> Option<Place> {
        let permit = Arc::clone(&self.free).acquire_owned().await.ok()?;
        Some(Place { places: Arc::clone(self), permit: Some(permit) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let wanted = self.places.wanted();
        let surplus = self
            .places
            .count
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| (count > wanted).then(|| count - 1));
        if surplus.is_ok() {
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(places: &Places) -> usize {
        places.free.available_permits()
    }

    #[tokio::test]
    async fn fewer_places_are_free_as_soon_as_pages_leave() {
        let places = Places::new(4);
        let mut pages = Vec::new();
        for _ in 0..3 {
            pages.push(places.take().await.unwrap());
        }
        places.resize(2);
        assert_eq!(free(&places), 0, "the free one went at once");
        pages.pop();
        assert_eq!(free(&places), 0, "the third went with its page");
        pages.pop();
        assert_eq!(free(&places), 1);
        pages.clear();
        assert_eq!((free(&places), places.wanted()), (2, 2));
    }

    #[tokio::test]
    async fn more_places_are_there_at_once() {
        let places = Places::new(1);
        let _page = places.take().await;
        places.resize(3);
        assert_eq!(free(&places), 2);
        places.resize(0);
        assert_eq!((free(&places), places.wanted()), (0, 1), "one stays, and it is taken");
    }
}
