//! The API server's audit log: who did what to which object.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Seek as _, SeekFrom},
    path::PathBuf,
};

use anyhow::Context;
use serde::Deserialize;

use super::{RELEASE, SYSTEM};
use crate::data::repository;

/// The audit log from a moment on.
pub struct Audit {
    file: PathBuf,
    from: u64,
}

/// One request.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    pub verb: String,
    pub user: User,
    #[serde(default)]
    pub user_agent: String,
    #[serde(default)]
    pub object_ref: ObjectRef,
    #[serde(default)]
    pub response_status: ResponseStatus,
    #[serde(default)]
    pub request_received_timestamp: String,
    /// When it was answered.
    #[serde(default)]
    pub stage_timestamp: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct User {
    pub username: String,
}

/// What a request was about.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub api_group: String,
}

/// How it was answered.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ResponseStatus {
    pub code: u16,
}

impl AuditEvent {
    /// Whether the operator's account asked.
    #[must_use]
    pub fn is_operators(&self) -> bool {
        self.user.username == format!("system:serviceaccount:{SYSTEM}:{RELEASE}")
    }

    /// Whether it changed something, or was to.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

impl Audit {
    /// The whole log of this checkout's cluster.
    ///
    /// # Errors
    /// If there is none: another cluster has its own.
    pub fn whole() -> anyhow::Result<Self> {
        let file = repository().join("target/cluster/audit.log");
        file.metadata().with_context(|| format!("no audit log: {}", file.display()))?;
        Ok(Self { file, from: 0 })
    }

    /// From now on.
    ///
    /// # Errors
    /// If there is no log.
    pub fn from_now() -> anyhow::Result<Self> {
        let whole = Self::whole()?;
        Ok(Self { from: whole.file.metadata()?.len(), ..whole })
    }

    /// The requests so far.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn events(&self) -> anyhow::Result<Vec<AuditEvent>> {
        let mut file = File::open(&self.file)?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut events = Vec::new();
        for line in BufReader::new(file).lines() {
            // The last line may be half written.
            if let Ok(event) = serde_json::from_str(&line?) {
                events.push(event);
            }
        }
        Ok(events)
    }
}
