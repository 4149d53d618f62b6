//! A pool without processes, for the tests of what comes after decoding: it decodes here, and only what the test wrote.

use super::{DecodePool, Shared};
use crate::decode::{Bitmap, Hello, Kind, PoolSettings, protocol::Usage};

/// The page of a document; `None` where it cannot be decoded.
pub(super) type Decode = fn(Kind, &[u8]) -> Option<Bitmap>;

impl DecodePool {
    /// A pool whose documents have the one page that this makes of them.
    pub(crate) fn stand_in(decode: fn(Kind, &[u8]) -> Option<Bitmap>) -> Self {
        let shared = Shared { stand_in: Some(decode), ..Shared::new(PoolSettings::default()).unwrap() };
        let keeper = shared.shutdown.clone().drop_guard().into();
        let hello = Hello {
            version: 0,
            landlock_abi: None,
            seccomp: false,
            pdf: false,
            address_space_bytes: 0,
            usage: Usage::default(),
        };
        Self { shared: shared.into(), hello: hello.into(), _keeper: keeper }
    }
}
