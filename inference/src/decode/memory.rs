//! Memory for pages in work, shared by all documents: a page is decoded when there is room for it, and one that will never
//! have room is refused before anything is allocated.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use ocr_api::{ErrorCode, ErrorDetail};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// What is counted in: finer is not worth it, and a semaphore counts in 32 bits.
const UNIT: u64 = 64 << 10;

/// A budget of memory in bytes, which can grow. Cheap to clone; all clones share it.
#[derive(Clone, Debug)]
pub struct PageMemory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    free: Arc<Semaphore>,
    /// All units there are now, and all that there can be.
    units: AtomicU32,
    most: u32,
    /// What a page needs beyond what there is now, and word of it.
    wanted: AtomicU32,
    short: Notify,
}

/// Memory that a page holds. Dropping it lets others have it. By default it holds none.
#[derive(Debug, Default)]
pub struct Ticket {
    permit: Option<OwnedSemaphorePermit>,
}

/// Why there is no memory for a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoMemory {
    /// More than there ever is.
    Never { need: u64, have: u64 },
    /// The time was over before others gave theirs back.
    Late,
}

impl PageMemory {
    /// At most so many bytes; without a bound where `None`. There are none before [`PageMemory::grow_to`] gives some.
    #[must_use]
    pub fn new(most: Option<u64>) -> Self {
        let most = units(most.unwrap_or(u64::MAX));
        Self {
            shared: Arc::new(Shared {
                free: Arc::new(Semaphore::new(0)),
                units: AtomicU32::new(0),
                most,
                wanted: AtomicU32::new(0),
                short: Notify::new(),
            }),
        }
    }

    /// Without a bound.
    #[must_use]
    pub fn unbounded() -> Self {
        let memory = Self::new(None);
        memory.grow_to(u64::MAX);
        memory
    }

    /// Makes it so many bytes, where it has fewer.
    pub fn grow_to(&self, bytes: u64) {
        let shared = &self.shared;
        let wanted = units(bytes).min(shared.most);
        let before = shared.units.fetch_max(wanted, Ordering::SeqCst);
        shared.free.add_permits(wanted.saturating_sub(before) as usize);
    }

    /// Returns when a page needs more than there is now, and less than there can be; with that many bytes.
    pub async fn short(&self) -> u64 {
        loop {
            let wanted = self.shared.wanted.swap(0, Ordering::SeqCst);
            if wanted > self.shared.units.load(Ordering::SeqCst) {
                return u64::from(wanted) * UNIT;
            }
            self.shared.short.notified().await;
        }
    }

    /// Says again what a page needs.
    pub fn want(&self, bytes: u64) {
        self.shared.wanted.fetch_max(units(bytes), Ordering::SeqCst);
        self.shared.short.notify_one();
    }

    /// Waits for room, in the order of arrival.
    pub(super) async fn take(&self, bytes: u64, deadline: Instant) -> Result<Ticket, NoMemory> {
        let shared = &self.shared;
        let never = NoMemory::Never { need: bytes, have: u64::from(shared.most) * UNIT };
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok().filter(|units| *units <= shared.most).ok_or(never)?;
        if units > shared.units.load(Ordering::SeqCst) {
            self.want(bytes.next_multiple_of(UNIT));
        }
        let permit = tokio::time::timeout_at(deadline.into(), Arc::clone(&shared.free).acquire_many_owned(units)).await;
        match permit {
            Ok(Ok(permit)) => Ok(Ticket { permit: Some(permit) }),
            Ok(Err(_)) | Err(_) => Err(NoMemory::Late),
        }
    }
}

fn units(bytes: u64) -> u32 {
    // What a semaphore holds at most is far above every machine's memory.
    let most = u64::from(u32::MAX).min(Semaphore::MAX_PERMITS as u64);
    u32::try_from((bytes / UNIT).min(most)).unwrap_or(u32::MAX)
}

impl Ticket {
    /// Gives back what is above so many bytes.
    pub fn shrink_to(&mut self, bytes: u64) {
        let Some(permit) = &mut self.permit else { return };
        let keep = usize::try_from(bytes.div_ceil(UNIT)).unwrap_or(usize::MAX);
        let surplus = permit.num_permits().saturating_sub(keep);
        drop(permit.split(surplus));
    }
}

impl NoMemory {
    /// For the client.
    pub(super) fn detail(self) -> ErrorDetail {
        match self {
            Self::Never { need, have } => ErrorDetail::new(
                ErrorCode::DecodeLimit,
                format!(
                    "decoding the page needs {} MiB of memory, and there are {} for pages; send a smaller page, or raise the server's memory",
                    need >> 20,
                    have >> 20
                ),
            ),
            Self::Late => ErrorDetail::new(
                ErrorCode::Timeout,
                "other pages held all memory until the time for the request ran out; send it again, or allow more time",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn of(bytes: u64) -> PageMemory {
        let memory = PageMemory::new(Some(bytes));
        memory.grow_to(bytes);
        memory
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    #[tokio::test]
    async fn a_page_waits_for_room_and_one_that_never_fits_does_not() {
        let memory = of(10 << 20);
        let first = memory.take(6 << 20, soon()).await.unwrap();
        assert_eq!(memory.take(5 << 20, soon()).await.unwrap_err(), NoMemory::Late);
        let never = NoMemory::Never { need: 11 << 20, have: 10 << 20 };
        assert_eq!(memory.take(11 << 20, soon()).await.unwrap_err(), never);
        assert!(never.detail().message.contains("needs 11 MiB of memory, and there are 10"));
        drop(first);
        assert!(memory.take(10 << 20, soon()).await.is_ok());
    }

    #[tokio::test]
    async fn what_a_page_does_not_need_any_more_is_others() {
        let memory = of(10 << 20);
        let mut ticket = memory.take(9 << 20, soon()).await.unwrap();
        ticket.shrink_to(3 << 20);
        let other = memory.take(7 << 20, soon()).await.unwrap();
        ticket.shrink_to(8 << 20);
        assert_eq!(memory.take(1, soon()).await.unwrap_err(), NoMemory::Late, "it does not grow");
        drop((ticket, other));
        assert!(memory.take(10 << 20, soon()).await.is_ok());
    }

    #[tokio::test]
    async fn without_a_bound_everything_fits() {
        let memory = PageMemory::unbounded();
        assert!(memory.take(1 << 40, soon()).await.is_ok());
    }

    #[tokio::test]
    async fn a_page_for_which_there_could_be_room_says_so_and_gets_it() {
        let memory = PageMemory::new(Some(10 << 20));
        memory.grow_to(4 << 20);
        let others = memory.clone();
        let grower = tokio::spawn(async move {
            let need = others.short().await;
            others.grow_to(need);
            need
        });
        assert!(memory.take(7 << 20, Instant::now() + Duration::from_secs(10)).await.is_ok());
        assert_eq!(grower.await.unwrap(), 7 << 20);
        memory.grow_to(1 << 20);
        assert!(memory.take(7 << 20, soon()).await.is_ok(), "it does not shrink");
        memory.grow_to(u64::MAX);
        assert!(memory.take(10 << 20, soon()).await.is_ok());
    }
}
