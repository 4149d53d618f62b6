//! Files that are broken, or made to use up what reads them, from a seeded generator.
//!
//! Each kind has a name and what may be answered to it. None may stop the server, cost another request, or be answered
//! with an error of ours (500 and above).

mod files;
mod images;
mod pdfs;

use anyhow::{Context, ensure};
use ocr_api::{ErrorCode, header};
use rand::{SeedableRng, rngs::StdRng};
use reqwest::Method;

use crate::http::{self, Answer, Http};

/// Time limit of files that would be decoded for minutes.
const ENDLESS_SECONDS: u32 = 4;

/// One hostile file.
#[derive(Clone, Debug)]
pub struct Hostile {
    /// Names the kind.
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub expect: Expect,
    /// True where a decode process has to die of it: it needs more memory or time than one may use.
    pub kills: bool,
    /// True where it would be decoded for minutes: it is sent with a short time limit, and may be answered `timeout`.
    pub endless: bool,
}

/// What may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// One of these codes, for the document or for each of its pages.
    Code(&'static [ErrorCode]),
    /// Text, or a code that names a fault of the document.
    Anything,
    /// Pages, all read: the file is odd and right.
    Read,
}

/// Codes that name a fault of the document.
const DOCUMENT_FAULTS: &[ErrorCode] = &[
    ErrorCode::EmptyBody,
    ErrorCode::UnsupportedMedia,
    ErrorCode::Undecodable,
    ErrorCode::TooManyPixels,
    ErrorCode::TooManyPages,
    ErrorCode::PasswordRequired,
    ErrorCode::DecodeLimit,
];

impl Hostile {
    fn new(name: &'static str, bytes: Vec<u8>, expect: Expect) -> Self {
        Self { name, bytes, expect, kills: false, endless: false }
    }

    fn killer(name: &'static str, bytes: Vec<u8>) -> Self {
        Self { name, bytes, expect: Expect::Anything, kills: true, endless: false }
    }

    /// Sends it to `/v1/ocr`, with a short time limit where it is endless, and judges the answer.
    ///
    /// # Errors
    /// If no answer comes, or one that this file may not have.
    pub fn send(&self, server: &Http) -> anyhow::Result<Answer> {
        let mut request = server.request(Method::POST, "/v1/ocr").body(self.bytes.clone());
        if self.endless {
            request = request.header(header::TIMEOUT_SECONDS, ENDLESS_SECONDS);
        }
        let answer = http::send(request).with_context(|| self.name)?;
        self.judge(&answer)?;
        Ok(answer)
    }

    /// Fails where the answer is not one that this file may have.
    ///
    /// # Errors
    /// With the file's name and the answer.
    pub fn judge(&self, answer: &Answer) -> anyhow::Result<()> {
        let codes = answer.codes()?;
        let allowed: &[ErrorCode] = match self.expect {
            Expect::Code(allowed) => {
                ensure!(!codes.is_empty(), "{}: read, and must not be: {}", self.name, answer.describe());
                allowed
            }
            Expect::Anything => DOCUMENT_FAULTS,
            Expect::Read => &[],
        };
        for code in &codes {
            let in_time = self.endless && *code == ErrorCode::Timeout;
            ensure!(
                in_time || allowed.contains(code),
                "{}: {code} is not among {allowed:?}: {}",
                self.name,
                answer.describe()
            );
        }
        Ok(())
    }
}

/// One file of every kind. The same seed gives the same bytes.
#[must_use]
pub fn kinds(seed: u64) -> Vec<Hostile> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut kinds = files::kinds(&mut random);
    kinds.extend(images::kinds(&mut random));
    kinds.extend(pdfs::kinds(&mut random));
    kinds
}

/// Every kind that must kill a decode process, the fastest first.
#[must_use]
pub fn killers(seed: u64) -> Vec<Hostile> {
    kinds(seed).into_iter().filter(|kind| kind.kills).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn there_are_enough_kinds_each_with_a_name_of_its_own() {
        let kinds = kinds(1);
        let names: HashSet<_> = kinds.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), kinds.len());
        assert!(kinds.len() >= 60, "{}", kinds.len());
        assert!(kinds.iter().filter(|kind| kind.kills).count() >= 5);
    }

    #[test]
    fn every_file_fits_the_limit_on_bodies() {
        for kind in kinds(2) {
            assert!(kind.bytes.len() < 10 << 20, "{}: {} bytes", kind.name, kind.bytes.len());
        }
    }

    #[test]
    fn the_seed_decides_the_bytes() {
        let bytes = |seed| -> Vec<Vec<u8>> { kinds(seed).into_iter().map(|kind| kind.bytes).collect() };
        assert_eq!(bytes(7), bytes(7));
        assert_ne!(bytes(7), bytes(8));
    }

    #[test]
    fn an_answer_is_judged_by_its_codes() {
        let answer = |status, body: &str| Answer {
            status,
            headers: reqwest::header::HeaderMap::new(),
            body: body.as_bytes().to_vec(),
            elapsed: std::time::Duration::ZERO,
        };
        let refused = Hostile::new("x", Vec::new(), Expect::Code(&[ErrorCode::Undecodable]));
        let undecodable = r#"{"error": {"code": "undecodable", "message": "m"}, "request_id": "r"}"#;
        let internal = r#"{"error": {"code": "internal", "message": "m"}, "request_id": "r"}"#;
        assert!(refused.judge(&answer(422, undecodable)).is_ok());
        assert!(refused.judge(&answer(500, internal)).is_err());
        let anything = Hostile::new("x", Vec::new(), Expect::Anything);
        assert!(anything.judge(&answer(422, undecodable)).is_ok());
        assert!(anything.judge(&answer(500, internal)).is_err());
        assert!(anything.judge(&answer(200, "half an ans")).is_err());
    }
}
