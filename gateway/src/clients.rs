//! Who may ask, and how often.

use std::{
    collections::HashMap,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use axum::http::{HeaderMap, header};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock as _};
use ocr_api::ErrorCode;
use ocr_serving::ApiError;
use sha2::{Digest as _, Sha256};

use crate::policy::RateLimit;

/// Most keys of a folder, and bytes of one.
const MOST_KEYS: usize = 1000;
const LONGEST_KEY: u64 = 4096;

/// Clients that are counted at once; above it those that have all their requests left are forgotten.
const MOST_CLIENTS: usize = 10_000;

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// By the name of its key.
    Key(Arc<str>),
    /// By its address.
    Address(IpAddr),
    /// Its address is not known.
    Unknown,
}

/// Keys by which clients are known: a file each, named as the client, as a mounted Secret is laid out.
#[derive(Debug, Default)]
pub struct ApiKeys {
    folder: Option<PathBuf>,
    /// By the digest of the key: what is compared tells nothing of it by the time that it takes.
    clients: RwLock<HashMap<[u8; 32], Arc<str>>>,
}

impl ApiKeys {
    /// Keys of a folder; anybody may ask where there is none.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn read(folder: Option<PathBuf>) -> std::io::Result<Self> {
        let keys = Self { folder, clients: RwLock::default() };
        keys.reload()?;
        Ok(keys)
    }

    /// Reads the folder again: a Secret changes while it is mounted.
    ///
    /// # Errors
    /// Where it cannot be read; the keys stay as they were.
    pub fn reload(&self) -> std::io::Result<usize> {
        let Some(folder) = &self.folder else { return Ok(0) };
        let clients = read_keys(folder)?;
        let count = clients.len();
        *self.clients.write().unwrap_or_else(PoisonError::into_inner) = clients;
        Ok(count)
    }

    /// Who sends a request with these headers.
    ///
    /// # Errors
    /// Where a key is needed and there is none that is known.
    pub fn client(&self, headers: &HeaderMap, address: Option<IpAddr>) -> Result<Client, ApiError> {
        if self.folder.is_none() {
            return Ok(address.map_or(Client::Unknown, Client::Address));
        }
        let key = headers.get(header::AUTHORIZATION).and_then(|value| {
            let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        });
        let digest: Option<[u8; 32]> = key.map(|key| Sha256::digest(key).into());
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        let client = digest.and_then(|digest| clients.get(&digest).cloned());
        client.map(Client::Key).ok_or_else(|| {
            let message = "this pool takes requests with a key only; send it as `Authorization: Bearer <key>`";
            ApiError::new(ErrorCode::Unauthorized, message)
        })
    }
}

fn read_keys(folder: &Path) -> std::io::Result<HashMap<[u8; 32], Arc<str>>> {
    let mut clients = HashMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // What a mounted Secret has beside its keys: `..data` and the folder that it points to.
        let is_key = !name.starts_with('.') && std::fs::metadata(entry.path())?.is_file();
        if !is_key || clients.len() >= MOST_KEYS || std::fs::metadata(entry.path())?.len() > LONGEST_KEY {
            continue;
        }
        let key = std::fs::read(entry.path())?;
        let key = key.trim_ascii();
        if !key.is_empty() {
            clients.insert(Sha256::digest(key).into(), Arc::from(name));
        }
    }
    Ok(clients)
}

/// Counts the requests of each client.
#[derive(Default)]
pub struct Rates(RwLock<Option<(RateLimit, DefaultKeyedRateLimiter<Client>)>>);

impl Rates {
    /// Changes the limit. Counts begin anew where it is another one.
    pub fn set(&self, limit: Option<RateLimit>) {
        let mut rates = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if rates.as_ref().map(|(limit, _)| *limit) == limit {
            return;
        }
        *rates = limit.and_then(|limit| {
            let each = limit.period.checked_div(limit.requests)?;
            let burst = std::num::NonZeroU32::new(limit.requests)?;
            Some((limit, RateLimiter::keyed(Quota::with_period(each)?.allow_burst(burst))))
        });
    }

    /// Counts a request.
    ///
    /// # Errors
    /// Where the client has sent as many as it may.
    pub fn count(&self, client: &Client) -> Result<(), ApiError> {
        let rates = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some((limit, limiter)) = rates.as_ref() else { return Ok(()) };
        if limiter.len() > MOST_CLIENTS {
            limiter.retain_recent();
        }
        limiter.check_key(client).map_err(|not_until| {
            let wait = not_until.wait_time_from(governor::clock::DefaultClock::default().now());
            let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
            let message = format!(
                "{} requests in {} s are what one client may send; send this one again in {seconds} s",
                limit.requests,
                limit.period.as_secs()
            );
            ApiError::new(ErrorCode::RateLimited, message).with_retry_after(seconds)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::HeaderValue;

    use super::*;

    fn bearer(key: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(key).unwrap())])
    }

    #[test]
    fn without_keys_a_client_is_its_address() {
        let keys = ApiKeys::read(None).unwrap();
        let address: IpAddr = [10, 0, 0, 1].into();
        assert_eq!(keys.client(&HeaderMap::new(), Some(address)), Ok(Client::Address(address)));
        assert_eq!(keys.client(&bearer("Bearer x"), None), Ok(Client::Unknown));
    }

    #[test]
    fn a_key_is_known_by_its_file_and_changes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("team-a"), "secret-a\n").unwrap();
        std::fs::write(folder.path().join("empty"), "\n").unwrap();
        std::fs::create_dir(folder.path().join("..2026")).unwrap();
        let keys = ApiKeys::read(Some(folder.path().to_owned())).unwrap();
        let client = |value: &str| keys.client(&bearer(value), None);
        assert_eq!(client("Bearer secret-a"), Ok(Client::Key("team-a".into())));
        assert_eq!(client("bearer  secret-a "), Ok(Client::Key("team-a".into())));
        for wrong in ["Bearer secret", "Bearer ", "Bearer", "Basic secret-a", "secret-a"] {
            assert_eq!(client(wrong).unwrap_err().detail.code, ErrorCode::Unauthorized, "{wrong}");
        }
        std::fs::write(folder.path().join("team-a"), "secret-b").unwrap();
        keys.reload().unwrap();
        assert!(client("Bearer secret-a").is_err() && client("Bearer secret-b").is_ok());
        drop(folder);
        assert!(keys.reload().is_err() && client("Bearer secret-b").is_ok());
    }

    #[test]
    fn a_client_has_its_requests_and_others_theirs() {
        let rates = Rates::default();
        let (a, b) = (Client::Key("a".into()), Client::Unknown);
        assert!((0..1000).all(|_| rates.count(&a).is_ok()));
        let limit = RateLimit { requests: 3, period: Duration::from_hours(1) };
        rates.set(Some(limit));
        assert!((0..3).all(|_| rates.count(&a).is_ok()));
        let error = rates.count(&a).unwrap_err();
        assert_eq!(error.detail.code, ErrorCode::RateLimited);
        assert!((1100..=1200).contains(&error.retry_after.unwrap()), "{error:?}");
        assert!(rates.count(&b).is_ok());
        rates.set(Some(limit));
        assert!(rates.count(&a).is_err(), "the same limit does not begin anew");
        rates.set(None);
        assert!(rates.count(&a).is_ok());
    }
}
