"""Runs inside a sandbox, by its own user: tries to get out, and to find what is not its own. Prints what it managed.

Read from standard input by the python3 of the image, so that nothing of the tests has to be in it. Each attempt is
harmless where it works: system calls get arguments that the kernel would refuse, files are opened and not written.
Arguments: addresses as host:port with commas, secrets with commas, and the first and last port of loopback to try.
"""

import ctypes
import errno
import json
import mmap
import os
import platform
import resource
import socket
import stat
import subprocess
import sys

TARGETS = sys.argv[1].split(",")
SECRETS = sys.argv[2].split(",")
FIRST_PORT, LAST_PORT = (int(port) for port in sys.argv[3].split("-"))
OWN_SOCKETS = ("/run/clawkaka/gateway/gateway.sock", "/run/clawkaka/host/host.sock")
OWN_PORTS = (8080, 18789)
OWN_DEVICES = {"full", "null", "ptmx", "random", "tty", "urandom", "zero", "console"}
REFUSED = (errno.EPERM, errno.ENOSYS)  # by the list of system calls, before the kernel looked at anything
X86 = platform.machine() == "x86_64"
found: list[str] = []


def tries(what, attempt) -> None:
    try:
        result = attempt()
    except OSError:
        return
    found.append(what if result is None else f"{what}: {result}")


def in_child(attempt) -> bool:
    """Whether it came true in a process of its own, which may change itself, or die of it."""
    child = os.fork()
    if child == 0:
        os._exit(0 if attempt() else 1)
    return os.waitpid(child, 0)[1] == 0


# --- System calls: name, number on x86-64 and on arm64, arguments -----------------------------------------------------

BAD = 1  # an address that nobody has
NEW = {"mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000, "user": 0x10000000}
NEW |= {"pid": 0x20000000, "network": 0x40000000}
CALLS = [
    ("mount", 165, 40, (BAD, BAD, BAD, 0, BAD)),
    ("umount2", 166, 39, (BAD, 0)),
    ("pivot_root", 155, 41, (BAD, BAD)),
    ("chroot", 161, 51, (BAD,)),
    ("open_tree", 428, 428, (-1, BAD, 0)),
    ("move_mount", 429, 429, (-1, BAD, -1, BAD, 0)),
    ("fsopen", 430, 430, (BAD, 0)),
    ("fsconfig", 431, 431, (-1, 0, 0, 0, 0)),
    ("fsmount", 432, 432, (-1, 0, 0)),
    ("fspick", 433, 433, (-1, BAD, 0)),
    ("mount_setattr", 442, 442, (-1, BAD, 0, 0, 0)),
    ("setns", 308, 268, (-1, 0)),
    *((f"unshare ({name})", 272, 97, (flag,)) for name, flag in NEW.items()),
    *((f"clone ({name})", 56, 220, (flag | 17, 0, 0, 0, 0)) for name, flag in NEW.items()),
    ("clone3", 435, 435, (BAD, 88)),
    ("bpf", 321, 280, (0, BAD, 8)),
    ("perf_event_open", 298, 241, (BAD, 0, -1, -1, 0)),
    ("add_key", 248, 217, (BAD, BAD, 0, 0, -3)),
    ("request_key", 249, 218, (BAD, BAD, 0, -3)),
    ("keyctl", 250, 219, (0, -3, 0)),
    ("ptrace", 101, 117, (0, 0, 0, 0)),
    ("process_vm_readv", 310, 270, (os.getpid(), 0, 0, 0, 0, 0)),
    ("process_vm_writev", 311, 271, (os.getpid(), 0, 0, 0, 0, 0)),
    ("process_madvise", 440, 440, (-1, 0, 0, 0, 0)),
    ("pidfd_getfd", 438, 438, (-1, 0, 0)),
    ("kcmp", 312, 272, (os.getpid(), os.getpid(), 0, 0, 0)),
    ("io_uring_setup", 425, 425, (0, 0)),
    ("io_uring_enter", 426, 426, (-1, 0, 0, 0, 0, 0)),
    ("io_uring_register", 427, 427, (-1, 0, 0, 0)),
    ("io_setup", 206, 0, (0, BAD)),
    ("userfaultfd", 323, 282, (0,)),
    ("memfd_secret", 447, 447, (0,)),
    ("vmsplice", 278, 75, (-1, 0, 0, 0)),
    ("name_to_handle_at", 303, 264, (-1, BAD, BAD, BAD, 0)),
    ("open_by_handle_at", 304, 265, (-1, BAD, 0)),
    ("fanotify_init", 300, 262, (0, 0)),
    ("fanotify_mark", 301, 263, (-1, 0, 0, -1, 0)),
    ("quotactl", 179, 60, (0, BAD, 0, 0)),
    ("kexec_load", 246, 104, (0, 1 << 20, 0, 0)),
    ("init_module", 175, 105, (BAD, 0, BAD)),
    ("finit_module", 313, 273, (-1, BAD, 0)),
    ("delete_module", 176, 106, (BAD, 0)),
    ("reboot", 169, 142, (0, 0, 0, 0)),
    ("swapon", 167, 224, (BAD, 0)),
    ("acct", 163, 89, (BAD,)),
    ("syslog", 103, 116, (10, 0, 0)),
    ("sethostname", 170, 161, (BAD, 1000)),
    ("settimeofday", 164, 170, (BAD, 0)),
    ("adjtimex", 159, 171, (BAD,)),
    ("personality", 135, 92, (0x40000,)),
    ("setuid", 105, 146, (0,)),
    ("setgroups", 116, 159, (0, 0)),
    ("capset", 126, 91, (BAD, BAD)),
    ("mbind", 237, 235, (0, 0, 0, 0, 0, 0)),
    ("set_mempolicy", 238, 237, (0, 0, 0)),
    ("move_pages", 279, 239, (0, 0, 0, 0, 0, 0)),
    ("msgget", 68, 186, (0, 0o600)),
    ("semget", 64, 190, (0, 1, 0o600)),
    ("shmget", 29, 194, (0, 4096, 0o600)),
    ("mq_open", 240, 180, (BAD, 0, 0, 0)),
    ("iopl", 172, None, (0,)),
    ("ioperm", 173, None, (0, 1, 0)),
    ("modify_ldt", 154, None, (0, 0, 0)),
    ("x32's getpid", 0x40000000 + 39, None, ()),
]


def reaches_the_kernel(number: int, arguments: tuple[int, ...]) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(argument) for argument in arguments))
    return result != -1 or ctypes.get_errno() not in REFUSED


def system_calls() -> None:
    for name, on_x86, on_arm, arguments in CALLS:
        number = on_x86 if X86 else on_arm
        if number is not None and in_child(lambda n=number, a=arguments: reaches_the_kernel(n, a)):
            found.append(f"system call {name}")
    if X86 and in_child(calls_as_32_bit):
        found.append("system call of a 32-bit program")


def calls_as_32_bit() -> bool:
    """getpid by int 0x80: mov eax, 20; int 0x80; ret."""
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))() > 0


# --- Network ----------------------------------------------------------------------------------------------------------

KINDS = [
    ("raw", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    ("raw IPv6", socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6),
    ("packet", socket.AF_PACKET, socket.SOCK_RAW, 0),
    ("packet datagram", socket.AF_PACKET, socket.SOCK_DGRAM, 0),
    ("vsock", 40, socket.SOCK_STREAM, 0),
    ("kernel crypto", socket.AF_ALG, socket.SOCK_SEQPACKET, 0),
    ("key management", 15, socket.SOCK_RAW, 2),
    ("audit", socket.AF_NETLINK, socket.SOCK_RAW, 9),
    ("netfilter", socket.AF_NETLINK, socket.SOCK_RAW, 12),
    ("kernel events", socket.AF_NETLINK, socket.SOCK_RAW, 15),
    ("bluetooth", 31, socket.SOCK_RAW, 1),
    ("CAN", 29, socket.SOCK_RAW, 1),
    ("XDP", 44, socket.SOCK_RAW, 0),
    ("TIPC", 30, socket.SOCK_STREAM, 0),
    ("RDS", 21, socket.SOCK_SEQPACKET, 0),
    ("SCTP", socket.AF_INET, socket.SOCK_SEQPACKET, socket.IPPROTO_SCTP),
]


def network() -> None:
    names = sorted(name for name in os.listdir("/sys/class/net") if is_up(name))
    if names != ["lo"]:
        found.append(f"interfaces: {names}")
    for what, family, kind, protocol in KINDS:
        tries(f"{what} socket", lambda f=family, k=kind, p=protocol: socket.socket(f, k, p).close() or "made")
    for target in TARGETS:
        tries(target, lambda target=target: connect(*address(target)))
        tries(f"{target} (datagram)", lambda target=target: send(*address(target)))
    tries("a name", lambda: socket.getaddrinfo("example.org", 443))
    for port in range(FIRST_PORT, LAST_PORT + 1):
        if port not in OWN_PORTS:
            listens(port)


def is_up(name: str) -> bool:
    with open(f"/sys/class/net/{name}/flags") as file:
        return bool(int(file.read(), 16) & 1)


def address(target: str) -> tuple[str, int]:
    host, _, port = target.rpartition(":")
    return host.strip("[]"), int(port)


def connect(host: str, port: int) -> str:
    with socket.create_connection((host, port), timeout=1):
        return "connected"


def send(host: str, port: int) -> str:
    family, kind, protocol, _, there = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    if host.startswith("127."):
        raise OSError("nobody is asked whether it arrives")
    with socket.socket(family, kind, protocol) as sock:
        sock.sendto(b"?", there)
        return "sent"


def listens(port: int) -> None:
    with socket.socket() as sock:
        if sock.connect_ex(("127.0.0.1", port)) == 0 and sock.getsockname() != sock.getpeername():
            found.append(f"loopback port {port}: connected")


# --- Files ------------------------------------------------------------------------------------------------------------


def files() -> None:
    """Every socket, device and program with rights that can be seen, but those that belong here."""
    for root, directories, names in os.walk("/"):
        directories[:] = [d for d in directories if os.path.join(root, d) not in ("/proc", "/sys")]
        for name in names:
            path = os.path.join(root, name)
            try:
                facts = os.lstat(path)
            except OSError:
                continue
            if is_mine(path):
                continue
            if stat.S_ISSOCK(facts.st_mode):
                found.append(f"socket: {path}")
            if stat.S_ISBLK(facts.st_mode) or stat.S_ISCHR(facts.st_mode):
                found.append(f"device: {path}")
            if stat.S_ISREG(facts.st_mode) and (facts.st_mode & (stat.S_ISUID | stat.S_ISGID) or has_rights(path)):
                found.append(f"program with rights: {path}")
    with open("/proc/net/unix") as file:
        found.extend(f"abstract socket: {line.split()[-1]}" for line in file if line.split()[-1].startswith("@"))


def is_mine(path: str) -> bool:
    """Its own two, what it may make for itself, and the harmless devices."""
    if path in OWN_SOCKETS or (path.startswith(("/tmp/", "/data/")) and stat.S_ISSOCK(os.lstat(path).st_mode)):
        return True
    directory, name = os.path.split(path)
    return directory == "/dev/pts" or (directory == "/dev" and name in OWN_DEVICES)


def has_rights(path: str) -> bool:
    try:
        return bool(os.getxattr(path, "security.capability", follow_symlinks=False))
    except OSError:
        return False


DEVICES = ("mem", "kmem", "kmsg", "port", "kvm", "fuse", "vsock", "vhost-vsock", "net/tun", "sda", "vda", "nvme0n1")
DEVICES += ("loop-control", "mapper/control", "hpet", "cpu/0/msr", "dri/card0", "nvidia0", "uinput")


def devices() -> None:
    for path in (*(f"/dev/{name}" for name in DEVICES), "/proc/kcore", "/proc/kmsg"):
        tries(f"opened {path}", lambda path=path: os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK)))
    for kind, what in ((stat.S_IFBLK, "block"), (stat.S_IFCHR, "character")):
        for place in ("/tmp", "/data", "/dev/shm"):
            path = f"{place}/probe-device"
            tries(f"made a {what} device in {place}", lambda p=path, k=kind: os.mknod(p, k | 0o600, os.makedev(1, 1)))
            if os.path.lexists(path):
                os.unlink(path)


KERNEL = (
    "/proc/sysrq-trigger",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/vm/drop_caches",
    "/proc/sys/fs/binfmt_misc/register",
    "/proc/irq/default_smp_affinity",
    "/sys/kernel/uevent_helper",
    "/sys/power/state",
)
HIDDEN = ("/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/interrupts", "/proc/latency_stats")


def kernel_files() -> None:
    for path in KERNEL:
        tries(f"opened {path}", lambda path=path: os.close(os.open(path, os.O_WRONLY)))
    for path in HIDDEN:
        tries(f"read {path}", lambda path=path: some(path))
    for top in ("/sys", "/proc/sys", "/proc/bus", "/proc/fs", "/proc/irq"):
        writable = [path for path in everything(top) if os.access(path, os.W_OK)]
        if writable:
            found.append(f"may write {len(writable)} in {top}, such as {writable[0]}")
    for root, _, names in os.walk("/sys/fs/cgroup"):
        for name in {"release_agent", "cgroup.procs", "devices.allow", "memory.max"} & set(names):
            path = os.path.join(root, name)
            tries(f"opened {path}", lambda path=path: os.close(os.open(path, os.O_WRONLY)))
    if names := os.listdir("/sys/firmware"):
        found.append(f"sees /sys/firmware: {names}")


def some(path: str) -> str:
    with open(path, "rb") as file:
        content = file.read(100)
    if not content:
        raise OSError("hidden")
    return f"{len(content)} bytes"


def everything(top: str) -> list[str]:
    return [os.path.join(root, name) for root, _, names in os.walk(top) for name in names]


def writes() -> None:
    shared = ("/run/clawkaka/gateway/x", "/run/clawkaka/host/x", "/etc/clawkaka/x")
    for path in ("/x", "/etc/x", "/usr/x", "/app/x", "/run/x", "/var/x", "/dev/x", *shared):
        tries(f"wrote {path}", lambda path=path: open(path, "w").close())
    for path in ("/etc/passwd", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/etc/clawkaka/openclaw.json"):
        tries(f"opened {path} for writing", lambda path=path: os.close(os.open(path, os.O_WRONLY)))
    tries("replaced its socket", lambda: os.unlink(OWN_SOCKETS[0]))
    for place in ("/tmp", "/dev/shm"):
        tries(f"ran a program in {place}", lambda place=place: runs_from(place))


def runs_from(place: str) -> str:
    path = f"{place}/probe-program"
    with open(path, "w") as file:
        file.write("#!/bin/sh\nexit 0\n")
    try:
        os.chmod(path, 0o755)
        return str(subprocess.run([path], check=False).returncode)
    finally:
        os.unlink(path)


def secrets() -> None:
    places = ["/etc/clawkaka", "/run", "/data", "/tmp", "/home", "/root"]
    others = [pid for pid in os.listdir("/proc") if pid.isdigit() and pid != str(os.getpid())]  # we were told them
    paths = [f"/proc/{pid}/{name}" for pid in others for name in ("environ", "cmdline")]
    for place in places:
        paths += everything(place)
    for path in paths:
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                continue
            with open(path, "rb") as file:
                content = file.read(50_000_000)
        except OSError:
            continue
        found.extend(f"secret in {path}" for secret in SECRETS if secret.encode() in content)


# --- Rights -----------------------------------------------------------------------------------------------------------


def rights() -> None:
    with open("/proc/self/status") as file:
        status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
    sets = ("CapEff", "CapPrm", "CapBnd", "CapAmb", "CapInh")
    found.extend(f"{name}: {status[name]}" for name in sets if int(status[name], 16))
    found.extend(
        f"{name} is {status[name]}" for name, v in (("NoNewPrivs", "1"), ("Seccomp", "2")) if status[name] != v
    )
    if os.getuid() != 1000 or os.getgid() != 1000 or 0 in os.getgroups():
        found.append(f"uid {os.getuid()}, gid {os.getgid()}, groups {os.getgroups()}")
    for what, limit in (("core", resource.RLIMIT_CORE), ("nofile", resource.RLIMIT_NOFILE)):
        hard = resource.getrlimit(limit)[1]
        tries(f"raised {what}", lambda limit=limit, hard=hard: raise_limit(limit, hard))
    if os.uname().nodename != "sandbox":
        found.append(f"host name: {os.uname().nodename}")
    with open("/proc/self/cgroup") as file:
        found.extend(f"cgroup of the host: {line.strip()}" for line in file if line.strip().rpartition(":")[2] != "/")
    with open("/proc/1/comm") as file:
        first = file.read().strip()
    if first != "tini":
        found.append(f"first process: {first}")
    tries("opened the log of the engine", lambda: os.close(os.open("/proc/1/fd/1", os.O_WRONLY)))


def raise_limit(limit: int, hard: int) -> str:
    try:
        resource.setrlimit(limit, (hard, hard + 1))
    except ValueError as error:
        raise OSError("refused") from error
    return "higher"


for part in (system_calls, network, files, devices, kernel_files, secrets, writes, rights):
    part()
print(json.dumps(found))
