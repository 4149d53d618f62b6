//! Limits of the cgroup that this process lives in, version 1 and 2.

use std::path::{Path, PathBuf};

/// What a cgroup allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupLimits {
    /// CPU quota in thousandths of a core; `None` where there is none.
    pub cpu_millicores: Option<u64>,
    /// Memory limit in bytes; `None` where there is none.
    pub memory_bytes: Option<u64>,
    /// Memory that the cgroup uses and the kernel cannot simply take back, in bytes: what is used without the pages of
    /// files that nobody has touched for long. The kubelet counts in the same way.
    pub working_set_bytes: u64,
    /// The most memory that the cgroup ever used, in bytes, pages of files included; `None` where the kernel does not say.
    pub peak_bytes: Option<u64>,
}

impl CgroupLimits {
    /// The quota in whole cores, rounded up.
    #[must_use]
    pub fn cores(&self) -> Option<usize> {
        self.cpu_millicores.map(|quota| usize::try_from(quota.div_ceil(1000)).unwrap_or(usize::MAX).max(1))
    }
}

/// A version 1 memory limit above this is no limit: the kernel reports a number near 2^63 instead of "none".
const NO_LIMIT: u64 = 1 << 60;

/// Reads the limits. `proc` and `cgroup` are the mount points, `/proc` and `/sys/fs/cgroup` on a real machine. The least
/// limit on the way from the process's cgroup up to the root of what it sees is the one in force.
#[must_use]
pub fn cgroup_limits(proc: &Path, cgroup: &Path) -> CgroupLimits {
    let membership = std::fs::read_to_string(proc.join("self/cgroup")).unwrap_or_default();
    if cgroup.join("cgroup.controllers").exists() { unified(&membership, cgroup) } else { legacy(&membership, cgroup) }
}

fn unified(membership: &str, root: &Path) -> CgroupLimits {
    let own = membership.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let levels = levels(root, own);
    CgroupLimits {
        cpu_millicores: least(&levels, |level| {
            let text = std::fs::read_to_string(level.join("cpu.max")).ok()?;
            let (quota, period) = text.trim().split_once(' ')?;
            millicores(quota.parse().ok()?, period.parse().ok()?)
        }),
        memory_bytes: least(&levels, |level| number(&level.join("memory.max"))),
        working_set_bytes: levels.first().map_or(0, |own| working_set(own, "memory.current", "inactive_file")),
        peak_bytes: levels.first().and_then(|own| number(&own.join("memory.peak"))),
    }
}

fn legacy(membership: &str, root: &Path) -> CgroupLimits {
    let of = |controller: &str| {
        let own = membership.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers.split(',').any(|name| name == controller).then_some(path)
        });
        levels(&root.join(controller), own.unwrap_or("/"))
    };
    let (cpu, memory) = (of("cpu"), of("memory"));
    CgroupLimits {
        cpu_millicores: least(&cpu, |level| {
            millicores(number(&level.join("cpu.cfs_quota_us"))?, number(&level.join("cpu.cfs_period_us"))?)
        }),
        memory_bytes: least(&memory, |level| {
            number(&level.join("memory.limit_in_bytes")).filter(|limit| *limit < NO_LIMIT)
        }),
        working_set_bytes: memory
            .first()
            .map_or(0, |own| working_set(own, "memory.usage_in_bytes", "total_inactive_file")),
        peak_bytes: memory.first().and_then(|own| number(&own.join("memory.max_usage_in_bytes"))),
    }
}

fn working_set(level: &Path, usage: &str, idle: &str) -> u64 {
    let stat = std::fs::read_to_string(level.join("memory.stat")).unwrap_or_default();
    let idle = stat.lines().find_map(|line| line.split_once(' ').filter(|(name, _)| *name == idle)?.1.parse().ok());
    number(&level.join(usage)).unwrap_or(0).saturating_sub(idle.unwrap_or(0))
}

/// The folders from the process's own cgroup up to the root. In a container the path in `/proc` may be the host's, which
/// is not there: then only the root remains, which is the container's own.
fn levels(root: &Path, own: &str) -> Vec<PathBuf> {
    let own = Path::new(own.trim_start_matches('/'));
    own.ancestors().map(|level| root.join(level)).filter(|level| level.is_dir()).collect()
}

fn least(levels: &[PathBuf], read: impl Fn(&Path) -> Option<u64>) -> Option<u64> {
    levels.iter().filter_map(|level| read(level)).min()
}

fn millicores(quota: u64, period: u64) -> Option<u64> {
    quota.saturating_mul(1000).checked_div(period).filter(|millicores| *millicores > 0)
}

/// The number in a file; `None` for `max`, `-1` and a file that is not there.
fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    fn limits(files: &[(&str, &str)]) -> CgroupLimits {
        let dir = machine(files);
        cgroup_limits(&dir.path().join("proc"), &dir.path().join("cgroup"))
    }

    #[test]
    fn version_2_is_read_and_the_least_limit_on_the_way_up_counts() {
        let limits = limits(&[
            ("proc/self/cgroup", "0::/pod/container\n"),
            ("cgroup/cgroup.controllers", "cpu memory\n"),
            ("cgroup/pod/cpu.max", "150000 100000\n"),
            ("cgroup/pod/memory.max", "max\n"),
            ("cgroup/pod/container/cpu.max", "max 100000\n"),
            ("cgroup/pod/container/memory.max", "2147483648\n"),
            ("cgroup/pod/container/memory.current", "1000\n"),
            ("cgroup/pod/container/memory.peak", "1200\n"),
            ("cgroup/pod/container/memory.stat", "anon 500\ninactive_file 300\nactive_file 200\n"),
        ]);
        let expected = CgroupLimits {
            cpu_millicores: Some(1500),
            memory_bytes: Some(1 << 31),
            working_set_bytes: 700,
            peak_bytes: Some(1200),
        };
        assert_eq!(limits, expected);
        assert_eq!(limits.cores(), Some(2));
    }

    #[test]
    fn version_1_is_read_by_controller() {
        let limits = limits(&[
            ("proc/self/cgroup", "9:memory:/m\n4:cpu,cpuacct:/c\n1:name=systemd:/\n"),
            ("cgroup/cpu/c/cpu.cfs_quota_us", "50000\n"),
            ("cgroup/cpu/c/cpu.cfs_period_us", "100000\n"),
            ("cgroup/memory/m/memory.limit_in_bytes", "1073741824\n"),
            ("cgroup/memory/m/memory.usage_in_bytes", "7\n"),
            ("cgroup/memory/m/memory.max_usage_in_bytes", "8\n"),
            ("cgroup/memory/m/memory.stat", "inactive_file 1\ntotal_inactive_file 2\n"),
            ("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        let expected = CgroupLimits {
            cpu_millicores: Some(500),
            memory_bytes: Some(1 << 30),
            working_set_bytes: 5,
            peak_bytes: Some(8),
        };
        assert_eq!(limits, expected);
        assert_eq!(limits.cores(), Some(1), "a part of a core is still one thread");
    }

    #[test]
    fn no_limits_are_none() {
        let limits = limits(&[
            ("proc/self/cgroup", "4:cpu:/\n9:memory:/\n"),
            ("cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!(limits, CgroupLimits::default());
    }

    #[test]
    fn in_a_container_the_hosts_path_is_not_there_and_the_root_counts() {
        let limits = limits(&[
            ("proc/self/cgroup", "0::/kubepods/x/y\n"),
            ("cgroup/cgroup.controllers", "cpu\n"),
            ("cgroup/cpu.max", "200000 100000\n"),
        ]);
        assert_eq!(limits.cpu_millicores, Some(2000));
    }
}
