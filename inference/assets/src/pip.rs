//! Downloads of wheels by pip, the Python package index's own client: it knows the proxies, mirrors and certificates
//! that a machine is set up with.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::fetch::Index;
use crate::lock::Wheel;

/// Longest time for one wheel: the largest has 75 MB, which a line of 1 Mbit/s brings in ten minutes.
const LIMIT: Duration = Duration::from_mins(20);

/// How often the end of a download is looked for.
const POLL: Duration = Duration::from_millis(100);

/// The client.
pub struct Pip {
    /// The Python whose pip is used.
    pub python: String,
    /// Version of Python to ask for, where a wheel names none: `3.11`.
    pub version: String,
}

impl Index for Pip {
    fn download(&self, wheel: &Wheel, folder: &Path) -> Result<()> {
        let mut command = Command::new(&self.python);
        command.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:"]);
        command.args(["--quiet", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]);
        command.args(platform(wheel, &self.version)).arg("--dest").arg(folder);
        command.arg(format!("{}=={}", wheel.package, wheel.version));
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start {}: install Python 3 with pip and run again", self.python))?;
        // A thread of its own, so that a talkative client does not stand at a full pipe.
        let stderr = child.stderr.take().map(|mut stderr| {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                let _ = stderr.read_to_end(&mut text);
                String::from_utf8_lossy(&text).trim().to_owned()
            })
        });
        let deadline = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = child.try_wait().context("failed to wait for pip")? {
                break status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                bail!("pip has not brought {wheel} within {} minutes: try again", LIMIT.as_secs() / 60);
            }
            std::thread::sleep(POLL);
        };
        let said = stderr.and_then(|thread| thread.join().ok()).unwrap_or_default();
        if status.success() {
            return Ok(());
        }
        bail!(
            "pip ended with {status}; it said:\n{said}\nWith no way to the package index, put {} into {} by hand and \
             run again. Where pip itself is missing, install it (Debian: apt-get install python3-pip)",
            wheel.file,
            folder.display()
        )
    }
}

/// The options that make pip take just the wheel of the lock file, whatever Python it runs under itself.
fn platform(wheel: &Wheel, version: &str) -> Vec<String> {
    let (python, abi, platforms) = wheel.tags().unwrap_or(("py3", "none", "any"));
    let mut options = Vec::new();
    let own_version = python.strip_prefix("cp3").map(|minor| format!("3.{minor}"));
    options.push(format!("--python-version={}", own_version.as_deref().unwrap_or(version)));
    if own_version.is_some() {
        options.push("--implementation=cp".to_owned());
        options.push(format!("--abi={abi}"));
    }
    options.extend(platforms.split('.').filter(|&name| name != "any").map(|name| format!("--platform={name}")));
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Arch;

    fn wheel(file: &str) -> Wheel {
        Wheel {
            package: "pkg".into(),
            version: "1".into(),
            arch: Arch::Any,
            file: file.into(),
            sha256: String::new(),
            bytes: 0,
            license: String::new(),
            files: Vec::new(),
        }
    }

    #[test]
    fn a_wheel_with_native_code_is_asked_for_by_all_its_tags() {
        let options = platform(&wheel("pkg-1-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"), "3.9");
        assert_eq!(
            options,
            [
                "--python-version=3.11",
                "--implementation=cp",
                "--abi=cp311",
                "--platform=manylinux2014_x86_64",
                "--platform=manylinux_2_17_x86_64"
            ]
        );
    }

    #[test]
    fn a_wheel_for_every_machine_is_asked_for_by_the_python_version_only() {
        assert_eq!(platform(&wheel("pkg-1-py3-none-any.whl"), "3.11"), ["--python-version=3.11"]);
    }

    #[test]
    fn a_missing_python_is_named_with_the_next_step() {
        let folder = tempfile::tempdir().unwrap();
        let pip = Pip { python: "/no/such/python".into(), version: "3.11".into() };
        let error = pip.download(&wheel("pkg-1-py3-none-any.whl"), folder.path()).unwrap_err();
        assert!(format!("{error:#}").contains("install Python 3 with pip"), "{error:#}");
    }

    #[test]
    fn what_pip_says_is_shown_with_the_name_of_the_wheel() {
        let folder = tempfile::tempdir().unwrap();
        let pip = Pip { python: "/bin/false".into(), version: "3.11".into() };
        let error = pip.download(&wheel("pkg-1-py3-none-any.whl"), folder.path()).unwrap_err();
        assert!(error.to_string().contains("put pkg-1-py3-none-any.whl into"), "{error}");
    }
}
