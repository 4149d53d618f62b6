//! The program under test, run as a command.

use std::{
    ffi::OsStr,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::data::repository;

static CHOSEN: OnceLock<PathBuf> = OnceLock::new();

/// Chooses the program for this process, before anything else is done with it; the first choice counts.
pub fn use_binary(program: PathBuf) {
    // Servers are started with another working folder.
    let _ = CHOSEN.set(std::path::absolute(&program).unwrap_or(program));
}

/// The program: as chosen, else `$OCR_BIN`, else what `make test` has built.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(chosen) = CHOSEN.get() {
        return chosen.clone();
    }
    let set = std::env::var_os("OCR_BIN").map(PathBuf::from);
    set.map_or_else(|| repository().join("target/checked/ocr"), |set| std::path::absolute(&set).unwrap_or(set))
}

/// Another program under test: from `$OCR_PROGRAMS`, a folder of the checkout, else as `make test` has built it.
///
/// # Errors
/// If it is not there.
pub fn under_test(name: &str) -> anyhow::Result<PathBuf> {
    let folder = std::env::var_os("OCR_PROGRAMS").map_or_else(|| PathBuf::from(CHECKED), PathBuf::from);
    found(&folder, name)
}

/// A program of the suites' own.
///
/// # Errors
/// If it is not there.
pub fn of_the_suites(name: &str) -> anyhow::Result<PathBuf> {
    found(Path::new(CHECKED), name)
}

/// Where `make test` builds.
const CHECKED: &str = "target/checked";

fn found(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let program = repository().join(folder).join(name);
    anyhow::ensure!(program.is_file(), "{} is not there: make test builds it", program.display());
    Ok(program)
}

/// True where the long form of a suite is asked for: `OCR_TEST_LONG=1`.
#[must_use]
pub fn is_long() -> bool {
    std::env::var_os("OCR_TEST_LONG").is_some_and(|value| value == "1")
}

/// The program with no variable of ours in its environment, so that the shell of whoever runs the tests does not count.
#[must_use]
pub fn command(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(repository());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OCR_") {
            command.env_remove(name);
        }
    }
    command
}

/// What a run of the program left.
#[derive(Clone, Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub elapsed: Duration,
}

/// Runs `ocr` with arguments until it ends, two minutes at most.
///
/// # Errors
/// If it cannot be started or does not end.
pub fn run(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> anyhow::Result<Run> {
    run_with(command(arguments), None)
}

/// Runs a command until it ends, with `input` on its standard input.
///
/// # Errors
/// If it cannot be started or does not end within two minutes.
pub fn run_with(mut command: Command, input: Option<Vec<u8>>) -> anyhow::Result<Run> {
    const LIMIT: Duration = Duration::from_mins(2);
    let started = Instant::now();
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {program}; build it: make test does"))?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        // In a thread: the program may write before it has read all. It may also end early; that is for the caller to judge.
        thread::spawn(move || {
            let _ = stdin.write_all(&input);
        });
    }
    let pid = child.id();
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let _ = sender.send(child.wait_with_output());
    });
    let Ok(output) = receiver.recv_timeout(LIMIT) else {
        kill(pid)?;
        bail!("{program} did not end within {LIMIT:?}");
    };
    let Output { status, stdout, stderr } = output.context("cannot wait for the program")?;
    Ok(Run {
        code: status.code(),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
        elapsed: started.elapsed(),
    })
}

/// Sends SIGTERM.
///
/// # Errors
/// If there is no such process.
pub fn terminate(pid: u32) -> anyhow::Result<()> {
    signal(pid, rustix::process::Signal::TERM)
}

/// Sends SIGKILL.
///
/// # Errors
/// If there is no such process.
pub fn kill(pid: u32) -> anyhow::Result<()> {
    signal(pid, rustix::process::Signal::KILL)
}

fn signal(pid: u32, signal: rustix::process::Signal) -> anyhow::Result<()> {
    let raw = i32::try_from(pid).context("no process has this id")?;
    let pid = rustix::process::Pid::from_raw(raw).context("no process has the id 0")?;
    rustix::process::kill_process(pid, signal).with_context(|| format!("cannot signal process {raw}"))
}

/// Waits for a child to end.
///
/// # Errors
/// If it does not within `limit`.
pub fn wait(child: &mut std::process::Child, limit: Duration) -> anyhow::Result<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for the process")? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            bail!("the process did not end within {limit:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Where the logs of servers under test are kept for whoever looks into a failure: `target/suites/`.
///
/// # Errors
/// If the folder cannot be made.
pub fn log_file(name: &str) -> anyhow::Result<(PathBuf, fs::File)> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let folder = repository().join("target/suites");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let suite = std::env::current_exe().ok();
    // Cargo names a suite NAME-HASH.
    let suite = suite.as_deref().and_then(Path::file_stem).unwrap_or_default().to_string_lossy().into_owned();
    let suite = suite.split('-').next().unwrap_or_default().to_owned();
    let path = folder.join(format!("{suite}-{}-{name}.log", NUMBER.fetch_add(1, Ordering::Relaxed)));
    let file = fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok((path, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_run_gives_what_was_written_and_the_exit_code() {
        let run = run_with(shell("cat; echo bad >&2; exit 3"), Some(b"in".to_vec())).unwrap();
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (Some(3), "in", "bad\n"));
    }

    #[test]
    fn input_that_nobody_reads_is_no_error() {
        let run = run_with(shell("exit 0"), Some(vec![0; 1 << 20])).unwrap();
        assert_eq!(run.code, Some(0));
    }

    #[test]
    fn a_terminated_process_is_waited_for() {
        let mut child = shell("sleep 30").spawn().unwrap();
        terminate(child.id()).unwrap();
        let status = wait(&mut child, Duration::from_secs(5)).unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
    }
}
