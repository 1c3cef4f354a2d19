"""The system calls of a sandbox, as a value. That the kernel obeys it is shown by the probe, from inside."""

import json
from pathlib import Path
from typing import Any

import pytest

from clawkakad.sandboxes.seccomp import document, seccomp_option

ROOT = Path(__file__).parent.parent.parent

# Ways to other processes' memory, to the kernel's own machinery, to other namespaces, to more rights.
NEVER = """
    ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp pidfd_getfd
    io_uring_setup io_uring_enter io_uring_register userfaultfd bpf perf_event_open memfd_secret vmsplice
    add_key request_key keyctl
    mount mount_setattr move_mount open_tree fsopen fsmount fsconfig fspick umount umount2 pivot_root chroot
    unshare setns open_by_handle_at name_to_handle_at fanotify_init fanotify_mark lookup_dcookie quotactl quotactl_fd
    kexec_load kexec_file_load init_module finit_module delete_module reboot swapon swapoff acct syslog vhangup
    iopl ioperm modify_ldt settimeofday clock_settime adjtimex clock_adjtime sethostname setdomainname
    setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset
    mbind set_mempolicy move_pages migrate_pages io_setup io_submit
    msgget semget shmget mq_open remap_file_pages uselib nfsservctl
"""
NEEDED = """
    read write openat close mmap mprotect futex execve exit_group clone wait4 epoll_wait epoll_pwait2 eventfd2 pipe2
    socket connect bind listen accept4 statx getrandom rseq membarrier pkey_alloc sched_setaffinity copy_file_range
    fdatasync fallocate flock fcntl prctl prlimit64 rt_sigreturn restart_syscall timerfd_create inotify_add_watch
"""


def _groups() -> list[dict[str, Any]]:
    return list(document()["syscalls"])


def _allowed() -> set[str]:
    return {name for group in _groups() if group["action"] == "SCMP_ACT_ALLOW" for name in group["names"]}


def test_what_is_not_named_is_refused() -> None:
    assert "SCMP_ACT_ERRNO" == document()["defaultAction"]
    assert {"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"} == {group["action"] for group in _groups()}


@pytest.mark.parametrize("name", NEVER.split())
def test_a_way_out_is_not_named(name: str) -> None:
    assert name not in _allowed()


def test_what_the_agent_needs_is_there() -> None:
    assert set(NEEDED.split()) <= _allowed()


def test_none_hangs_on_a_capability_or_a_kernel() -> None:
    assert not [group for group in _groups() if group.keys() & {"includes", "excludes"}]


def test_only_native_programs_may_call() -> None:
    """32-bit calls would have numbers of their own."""
    assert [[], []] == [arch["subArchitectures"] for arch in document()["archMap"]]


def test_no_call_is_allowed_twice_but_by_its_arguments() -> None:
    plain = [name for group in _groups() if "args" not in group for name in group["names"]]
    by_arguments = {name for group in _groups() if "args" in group for name in group["names"]}

    assert len(plain) == len(set(plain))
    assert {"clone", "mknod", "mknodat", "personality", "socket", "socketpair"} == by_arguments
    assert not by_arguments & set(plain)


def test_clone3_is_as_if_it_were_not_there() -> None:
    """Its flags cannot be looked at; ENOSYS is what libraries take for an older kernel."""
    (group,) = [group for group in _groups() if "clone3" in group["names"]]

    assert ("SCMP_ACT_ERRNO", 38) == (group["action"], group["errnoRet"])


def test_each_group_has_its_reason_and_the_engine_gets_none() -> None:
    sent = json.loads(seccomp_option().removeprefix("seccomp="))["syscalls"]

    assert all(group["comment"] for group in _groups())
    assert sent == [{key: value for key, value in group.items() if key != "comment"} for group in _groups()]


def test_the_file_is_part_of_the_package() -> None:
    assert "sandboxes/seccomp.json" in (ROOT / "setup.cfg").read_text()
