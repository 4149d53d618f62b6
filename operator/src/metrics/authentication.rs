//! Who may read the metrics: a token is asked about once, and the answer is kept for a while.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use http::{HeaderMap, header::AUTHORIZATION};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

/// Answers that are kept: far more than there are scrapers.
const MOST: usize = 64;
/// How long a token may read after it was last asked about.
const ALLOWED: Duration = Duration::from_mins(1);
/// How long a token that may not read is not asked about again.
const REFUSED: Duration = Duration::from_secs(10);
/// Tokens asked about at once: whoever sends many invented ones must not keep the API server busy.
const AT_ONCE: usize = 4;

/// Whether the bearer of a token may read the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// There is no token, or nobody has it.
    Unknown,
    /// The account of this name has it, and may not read.
    Forbidden(String),
    /// It could not be found out.
    Unavailable(String),
}

impl Verdict {
    /// How long it holds. What could not be found out is asked for again at once.
    const fn holds(&self) -> Option<Duration> {
        match self {
            Self::Allowed => Some(ALLOWED),
            Self::Unknown | Self::Forbidden(_) => Some(REFUSED),
            Self::Unavailable(_) => None,
        }
    }
}

/// Finds out about a token.
pub type Review = Box<dyn Fn(String) -> BoxFuture<'static, Verdict> + Send + Sync>;

/// Lets in whom it may.
pub struct Guard {
    review: Review,
    places: Semaphore,
    kept: Mutex<Kept>,
    start: Instant,
}

impl Guard {
    /// A guard that asks `review` about tokens that it does not know.
    pub fn new(review: Review) -> Self {
        Self { review, places: Semaphore::new(AT_ONCE), kept: Mutex::default(), start: Instant::now() }
    }

    /// Whether a request with these headers may read the metrics.
    pub async fn admit(&self, headers: &HeaderMap) -> Verdict {
        let Some(token) = bearer(headers) else { return Verdict::Unknown };
        let key = Key::of(token);
        if let Some(verdict) = self.kept().get(&key, self.start.elapsed()) {
            return verdict;
        }
        // It is never closed, so there is always a place in the end.
        let _place = self.places.acquire().await;
        let verdict = (self.review)(token.to_owned()).await;
        self.kept().put(key, &verdict, self.start.elapsed());
        verdict
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The token of a request, where it has one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// SHA-256 of a token: the token itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key([u8; 32]);

impl Key {
    fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }
}

/// Answers of the last minute.
#[derive(Default)]
struct Kept {
    answers: HashMap<Key, Answer>,
}

struct Answer {
    verdict: Verdict,
    until: Duration,
}

impl Kept {
    /// The answer about a token, if it still holds at `now`.
    fn get(&self, key: &Key, now: Duration) -> Option<Verdict> {
        self.answers.get(key).filter(|answer| now < answer.until).map(|answer| answer.verdict.clone())
    }

    /// Keeps an answer from `now` on. Where there is no room, that goes which would end first.
    fn put(&mut self, key: Key, verdict: &Verdict, now: Duration) {
        let Some(holds) = verdict.holds() else { return };
        self.answers.retain(|_, answer| now < answer.until);
        if self.answers.len() >= MOST
            && let Some(first) = self.answers.iter().min_by_key(|(_, answer)| answer.until).map(|(key, _)| key.clone())
        {
            self.answers.remove(&first);
        }
        self.answers.insert(key, Answer { verdict: verdict.clone(), until: now.saturating_add(holds) });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use futures::future::FutureExt as _;

    use super::*;

    const fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn a_token_is_what_follows_bearer() {
        let rows = [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Bearer ", None),
            ("Bearer", None),
            ("Basic abc", None),
            ("abc", None),
        ];
        for (value, expected) in rows {
            assert_eq!(bearer(&headers(value)), expected, "{value:?}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
    }

    #[test]
    fn an_answer_holds_for_its_time() {
        let rows = [
            (Verdict::Allowed, 59, true),
            (Verdict::Allowed, 60, false),
            (Verdict::Unknown, 9, true),
            (Verdict::Unknown, 10, false),
            (Verdict::Forbidden("bob".to_owned()), 9, true),
            (Verdict::Forbidden("bob".to_owned()), 10, false),
            (Verdict::Unavailable("down".to_owned()), 0, false),
        ];
        for (verdict, later, holds) in rows {
            let mut kept = Kept::default();
            kept.put(Key::of("a"), &verdict, at(100));
            assert_eq!(kept.get(&Key::of("a"), at(100 + later)), holds.then_some(verdict.clone()), "{verdict:?}");
            assert_eq!(kept.get(&Key::of("b"), at(100)), None);
        }
    }

    #[test]
    fn many_invented_tokens_do_not_push_out_the_scraper_s() {
        let mut kept = Kept::default();
        kept.put(Key::of("scraper"), &Verdict::Allowed, at(0));
        for number in 0..1000 {
            kept.put(Key::of(&number.to_string()), &Verdict::Unknown, at(1));
        }
        assert_eq!(kept.answers.len(), MOST);
        assert_eq!(kept.get(&Key::of("scraper"), at(1)), Some(Verdict::Allowed));
        assert_eq!(kept.get(&Key::of("999"), at(1)), Some(Verdict::Unknown));
        // What has ended makes room first.
        kept.put(Key::of("late"), &Verdict::Unknown, at(11));
        assert_eq!(kept.answers.len(), 2);
    }

    #[tokio::test]
    async fn a_token_is_asked_about_once_and_a_request_without_one_never() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let guard = Guard::new(Box::new(move |token| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move { if token == "good" { Verdict::Allowed } else { Verdict::Unknown } }.boxed()
        }));
        for _ in 0..3 {
            assert_eq!(guard.admit(&headers("Bearer good")).await, Verdict::Allowed);
        }
        assert_eq!(guard.admit(&headers("Bearer bad")).await, Verdict::Unknown);
        assert_eq!(guard.admit(&HeaderMap::new()).await, Verdict::Unknown);
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }
}
