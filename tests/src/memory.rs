//! Memory and processor time of a process with all its children, as the kernel counts them.

use std::{
    fs, io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

/// Process `root` and all its descendants, `root` first.
///
/// # Errors
/// If `/proc` cannot be listed.
pub fn process_tree(root: u32) -> anyhow::Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot list /proc")? {
        let name = entry.context("cannot list /proc")?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process that ended since is no part of the tree.
        if let Ok(stat) = read_stat(pid) {
            parents.push((pid, stat.parent));
        }
    }
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(parent) = tree.get(next).copied() {
        tree.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    Ok(tree)
}

/// Proportional set size of the tree in bytes: memory shared by several processes is counted once in all.
///
/// # Errors
/// If `root` has ended, or if the kernel does not let us see a child's memory.
pub fn tree_pss(root: u32) -> anyhow::Result<u64> {
    let mut sum = 0;
    for pid in process_tree(root)? {
        match fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
            Ok(rollup) => sum += parse_pss(&rollup).with_context(|| format!("no Pss in smaps_rollup of {pid}"))?,
            Err(error) if pid != root && has_ended(&error) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read /proc/{pid}/smaps_rollup")),
        }
    }
    Ok(sum)
}

/// Seconds of processor time that the tree has used, with those of children that have ended and were waited for.
///
/// # Errors
/// If `root` has ended.
pub fn tree_cpu_seconds(root: u32) -> anyhow::Result<f64> {
    let mut ticks = 0;
    for pid in process_tree(root)? {
        match read_stat(pid) {
            Ok(stat) => ticks += stat.cpu_ticks,
            Err(_) if pid != root => {}
            Err(error) => return Err(error).with_context(|| format!("process {pid} has ended")),
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "ticks of a process fit 2^53 for a million years")]
    let seconds = ticks as f64 / TICKS_PER_SECOND;
    Ok(seconds)
}

/// Seconds of processor time that the threads of a name have used, to the nanosecond.
///
/// # Errors
/// If the process has ended, or has no thread of that name.
pub fn thread_cpu_seconds(pid: u32, name: &str) -> anyhow::Result<f64> {
    let mut nanoseconds = None;
    for entry in fs::read_dir(format!("/proc/{pid}/task")).context("cannot list the threads")? {
        let thread = entry.context("cannot list the threads")?.path();
        // A thread that ended since is none of those asked for: they live as long as the process.
        let Ok(found) = fs::read_to_string(thread.join("comm")) else { continue };
        if found.trim_end() == name {
            let times = fs::read_to_string(thread.join("schedstat")).context("cannot read the times of a thread")?;
            let on_cpu: u64 = times.split_whitespace().next().unwrap_or_default().parse()?;
            *nanoseconds.get_or_insert(0) += on_cpu;
        }
    }
    let nanoseconds = nanoseconds.with_context(|| format!("process {pid} has no thread {name}"))?;
    Ok(Duration::from_nanos(nanoseconds).as_secs_f64())
}

/// `USER_HZ`, the unit of times in `/proc`: 100 on x86-64 and arm64, whatever the kernel's own clock does.
const TICKS_PER_SECOND: f64 = 100.0;

/// True for the errors that reading `/proc` gives for a process that ended meanwhile.
fn has_ended(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// Bytes of the line `Pss:` of a `smaps_rollup`.
fn parse_pss(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

struct Stat {
    parent: u32,
    cpu_ticks: u64,
}

fn read_stat(pid: u32) -> anyhow::Result<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat"))?).context("unexpected form of /proc/PID/stat")
}

/// Fields of proc(5): 4 is the parent, 14 to 17 are user and system time, own and of children waited for.
fn parse_stat(stat: &str) -> Option<Stat> {
    // Field 2 is the name in parentheses, which may hold spaces and parentheses of its own.
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(4)?).ok()?,
        cpu_ticks: number(14)? + number(15)? + number(16)? + number(17)?,
    })
}

/// Samples the memory of a process tree in a thread until it is stopped or dropped.
pub struct Sampler {
    started: Instant,
    samples: Arc<Mutex<Vec<(Instant, u64)>>>,
    cpu_seconds: Arc<Mutex<Option<f64>>>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Sampler {
    /// Time between two samples. Reading `smaps_rollup` walks the page tables, so oftener would slow what is measured.
    pub const INTERVAL: Duration = Duration::from_millis(100);

    /// Samples the tree of `root` from now on.
    #[must_use]
    pub fn start(root: u32) -> Self {
        let samples = Arc::new(Mutex::new(Vec::new()));
        let cpu_seconds = Arc::new(Mutex::new(None));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (samples, cpu_seconds, stop) = (Arc::clone(&samples), Arc::clone(&cpu_seconds), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    // The end of the process is for the suite to notice.
                    if let Ok(pss) = tree_pss(root) {
                        samples.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), pss));
                    }
                    if let Ok(seconds) = tree_cpu_seconds(root) {
                        *cpu_seconds.lock().unwrap_or_else(PoisonError::into_inner) = Some(seconds);
                    }
                    thread::sleep(Self::INTERVAL);
                }
            }
        });
        Self { started: Instant::now(), samples, cpu_seconds, stop, thread: Some(thread) }
    }

    /// Highest memory in bytes since the start.
    ///
    /// # Errors
    /// If nothing was sampled: a peak of nothing would pass every limit.
    pub fn peak(&self) -> anyhow::Result<u64> {
        self.peak_between(self.started, Instant::now())
    }

    /// Processor time of the tree when it was last sampled: what a program used that has ended since, but for the last
    /// interval.
    ///
    /// # Errors
    /// If nothing was sampled.
    pub fn last_cpu_seconds(&self) -> anyhow::Result<f64> {
        self.cpu_seconds.lock().unwrap_or_else(PoisonError::into_inner).context("no sample of processor time was taken")
    }

    /// Highest memory in bytes between two moments.
    ///
    /// # Errors
    /// If nothing was sampled between them.
    pub fn peak_between(&self, from: Instant, to: Instant) -> anyhow::Result<u64> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        match samples.iter().filter(|(at, _)| (from..=to).contains(at)).map(|(_, pss)| *pss).max() {
            Some(peak) => Ok(peak),
            None => bail!("no sample of memory was taken in this time; {} in all", samples.len()),
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It sleeps for one interval at most; it cannot panic but by a bug, which its missing samples show.
            let _ = thread.join();
        }
    }
}

/// Bytes in MB of 1,000,000 bytes, as limits are written.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn pss_is_read_from_the_line_of_that_name() {
        let rollup = "Rss:  900 kB\nPss:                 123 kB\nPss_Dirty:  7 kB\n";
        assert_eq!(parse_pss(rollup), Some(123 * 1024));
        assert_eq!(parse_pss("Rss: 1 kB\n"), None);
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "12 (a) b) (c) S 7 1 1 0 -1 0 0 0 0 0 10 20 30 40 0 0";
        let stat = parse_stat(stat).unwrap();
        assert_eq!((stat.parent, stat.cpu_ticks), (7, 100));
    }

    #[test]
    fn the_tree_holds_grandchildren_and_their_memory() {
        let mut shell =
            Command::new("sh").args(["-c", "sleep 20 & wait"]).stdin(Stdio::null()).spawn().expect("sh starts");
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut tree = process_tree(std::process::id()).unwrap();
        while tree.len() < 3 && Instant::now() < deadline {
            thread::yield_now();
            tree = process_tree(std::process::id()).unwrap();
        }
        assert!(tree.contains(&shell.id()), "{tree:?}");
        let tree = process_tree(shell.id()).unwrap();
        assert_eq!(tree.len(), 2, "the shell and its sleep");
        let own = parse_pss(&fs::read_to_string(format!("/proc/{}/smaps_rollup", tree[0])).unwrap()).unwrap();
        assert!(tree_pss(shell.id()).unwrap() > own / 2);
        let sleep = rustix::process::Pid::from_raw(i32::try_from(tree[1]).unwrap()).unwrap();
        rustix::process::kill_process(sleep, rustix::process::Signal::KILL).unwrap();
        shell.wait().unwrap();
    }

    #[test]
    fn a_peak_without_samples_is_an_error() {
        let sampler = Sampler {
            started: Instant::now(),
            samples: Arc::default(),
            cpu_seconds: Arc::default(),
            stop: Arc::default(),
            thread: None,
        };
        assert!(sampler.peak().is_err());
        let now = Instant::now();
        sampler.samples.lock().unwrap().extend([(now, 5), (now + Duration::from_mins(1), 9)]);
        assert_eq!(sampler.peak_between(now, now + Duration::from_secs(1)).unwrap(), 5);
        assert_eq!(sampler.peak_between(now, now + Duration::from_secs(61)).unwrap(), 9);
    }
}
