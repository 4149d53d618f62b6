//! Cores and instruction sets.

use super::CgroupLimits;

/// What there is to compute with on the CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Threads to compute with; at least 1.
    pub threads: usize,
    /// What decided them: `cgroup`, `affinity` or `setting`.
    pub threads_source: &'static str,
    /// The instruction sets in [`INSTRUCTIONS`] that every core has, by their names there.
    pub instructions: Vec<&'static str>,
}

/// Instruction sets that decide how networks are run, as `/proc/cpuinfo` of x86-64 names them.
const INSTRUCTIONS: [&str; 5] = ["avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8"];

impl Cpu {
    /// Whether products of 8-bit integers are summed by one instruction, without which int8 is no faster than fp32 and
    /// may overflow (ONNX Runtime, "Quantize ONNX models").
    #[must_use]
    pub fn has_vnni(&self) -> bool {
        self.instructions.iter().any(|one| ["avx_vnni", "avx512_vnni", "amx_int8"].contains(one))
    }
}

/// The facts from what was read. `setting` is the number of threads that was asked for, 0 for what is there; `affinity`
/// the cores that the affinity mask leaves. A quota is rounded up, since half a core left over is still worth a thread.
pub(super) fn describe(setting: usize, affinity: usize, limits: CgroupLimits, cpuinfo: &str) -> Cpu {
    let (threads, threads_source) = match (setting, limits.cores()) {
        (0, Some(cores)) if cores < affinity => (cores, "cgroup"),
        (0, _) => (affinity, "affinity"),
        (setting, _) => (setting, "setting"),
    };
    let mut flags = cpuinfo.lines().filter_map(|line| {
        let (name, flags) = line.split_once(':')?;
        (name.trim() == "flags").then(|| flags.split_whitespace().collect::<Vec<_>>())
    });
    let first = flags.next().unwrap_or_default();
    // A machine may have cores of two kinds, and a thread may run on either.
    let others: Vec<_> = flags.collect();
    let everywhere = |one: &&str| first.contains(one) && others.iter().all(|flags| flags.contains(one));
    Cpu { threads: threads.max(1), threads_source, instructions: INSTRUCTIONS.into_iter().filter(everywhere).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads(setting: usize, affinity: usize, millicores: Option<u64>) -> (usize, &'static str) {
        let limits = CgroupLimits { cpu_millicores: millicores, ..CgroupLimits::default() };
        let cpu = describe(setting, affinity, limits, "");
        (cpu.threads, cpu.threads_source)
    }

    #[test]
    fn a_quota_below_the_cores_decides_the_threads() {
        assert_eq!(threads(0, 64, Some(2500)), (3, "cgroup"));
    }

    #[test]
    fn a_quota_above_the_cores_does_not() {
        assert_eq!(threads(0, 4, Some(64_000)), (4, "affinity"));
    }

    #[test]
    fn the_setting_wins() {
        assert_eq!(threads(7, 4, Some(1000)), (7, "setting"));
    }

    #[test]
    fn an_instruction_set_counts_that_every_core_has() {
        let instructions = |cpuinfo: &str| describe(0, 1, CgroupLimits::default(), cpuinfo).instructions;
        let all = "processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_vnni amx_int8\n";
        assert_eq!(instructions(all), ["avx2", "avx512f", "avx512_vnni", "amx_int8"]);
        assert_eq!(instructions(&format!("{all}flags : avx2 avx_vnni\n")), ["avx2"]);
        // Names that only begin alike, other lines, other processors.
        assert_eq!(instructions("flags : avx2x\nvmx flags : avx2\n"), [""; 0]);
        assert_eq!(instructions("Features : asimd asimddp i8mm\n"), [""; 0]);
    }

    #[test]
    fn each_kind_of_vnni_is_one() {
        let has = |flag: &str| describe(0, 1, CgroupLimits::default(), &format!("flags : {flag}\n")).has_vnni();
        assert_eq!(["avx2 avx512f", "avx_vnni", "avx512_vnni", "amx_int8"].map(has), [false, true, true, true]);
    }
}
