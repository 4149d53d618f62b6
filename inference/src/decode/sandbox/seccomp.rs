//! seccomp: which system calls a decode process can make.
//!
//! Two filters, of which the kernel obeys the stricter answer:
//!
//! - *forbidden*: calls that no decoder makes and that an intruder needs (start a program or process, open a socket,
//!   reach into another process, mount, load code into the kernel). They end the process: an attempt shall not be
//!   followed by a second one, and the death is counted as what it is.
//! - *allowed*: what decoding needs: reading and writing open files, memory that is not executable, time, random
//!   numbers. Every other call is answered `EPERM`, because libraries probe for things and manage without.
//!
//! Files can be opened for reading only, and only where Landlock limits which.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum SeccompError {
    #[error("no filter can be made for this architecture")]
    Filter(#[from] BackendError),
    #[error(transparent)]
    Install(#[from] seccompiler::Error),
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Calls that end the process.
const FORBIDDEN: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_memfd_create,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
];

/// Calls that are allowed whatever their arguments are.
const ALLOWED: &[i64] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_sched_yield,
    libc::SYS_exit,
    libc::SYS_exit_group,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// Flags of `openat` that write, make or truncate: the mode of access, `O_CREAT`, `O_TRUNC`, and the bit that tells
/// `O_TMPFILE` from `O_DIRECTORY`.
const OPEN_WRITES: i32 = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | (libc::O_TMPFILE & !libc::O_DIRECTORY);

/// Installs both filters, for good.
///
/// `open_files`: whether files may be opened for reading; true only where Landlock limits which.
pub(super) fn install(open_files: bool) -> Result<(), SeccompError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let forbidden: Rules = FORBIDDEN.iter().map(|call| (*call, Vec::new())).collect();
    let allowed = allowed(open_files)?;
    // In this order: the second one denies the call that installs a filter.
    apply_filter(&compile(forbidden, SeccompAction::Allow, SeccompAction::KillProcess, arch)?)?;
    let eperm = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    apply_filter(&compile(allowed, eperm, SeccompAction::Allow, arch)?)?;
    Ok(())
}

fn compile(
    rules: Rules,
    otherwise: SeccompAction,
    matched: SeccompAction,
    arch: TargetArch,
) -> Result<BpfProgram, BackendError> {
    BpfProgram::try_from(SeccompFilter::new(rules, otherwise, matched, arch)?)
}

fn allowed(open_files: bool) -> Result<Rules, BackendError> {
    let mut rules: Rules = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();

    // Memory that is both written and run is how an overflow becomes a program.
    let not_executable = || Ok::<_, BackendError>(vec![SeccompRule::new(vec![bits_clear(2, libc::PROT_EXEC)?])?]);
    rules.insert(libc::SYS_mmap, not_executable()?);
    rules.insert(libc::SYS_mprotect, not_executable()?);

    // abort() signals its own process; no other may be signalled.
    let own_pid = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, std::process::id().into())?;
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![own_pid])?]);

    // The C library's fstat; with a path the call would tell which files exist.
    let no_path =
        SeccompCondition::new(3, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(AT_EMPTY_PATH), AT_EMPTY_PATH)?;
    rules.insert(libc::SYS_newfstatat, vec![SeccompRule::new(vec![no_path])?]);

    if open_files {
        rules.insert(libc::SYS_openat, vec![SeccompRule::new(vec![bits_clear(2, OPEN_WRITES)?])?]);
        rules.insert(libc::SYS_getdents64, Vec::new());
    }
    Ok(rules)
}

const AT_EMPTY_PATH: u64 = libc::AT_EMPTY_PATH.unsigned_abs() as u64;

/// True where none of these bits is set in that argument.
fn bits_clear(argument: u8, bits: i32) -> Result<SeccompCondition, BackendError> {
    let mask = u64::from(bits.unsigned_abs());
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_both_allowed_and_forbidden() {
        let allowed = allowed(true).unwrap();
        for call in FORBIDDEN {
            assert!(!allowed.contains_key(call), "system call {call}");
        }
    }

    #[test]
    fn files_can_be_opened_only_where_landlock_limits_which() {
        assert!(allowed(true).unwrap().contains_key(&libc::SYS_openat));
        assert!(!allowed(false).unwrap().contains_key(&libc::SYS_openat));
    }

    #[test]
    fn the_filters_compile_for_both_architectures() {
        for arch in [TargetArch::x86_64, TargetArch::aarch64] {
            let rules = allowed(true).unwrap();
            assert!(compile(rules, SeccompAction::Errno(1), SeccompAction::Allow, arch).is_ok());
        }
    }

    #[test]
    fn a_temporary_file_is_a_write_and_a_folder_is_not() {
        assert_ne!(OPEN_WRITES & libc::O_TMPFILE, 0);
        assert_eq!(OPEN_WRITES & libc::O_DIRECTORY, 0);
    }
}
