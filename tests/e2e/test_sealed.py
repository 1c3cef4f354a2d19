"""What a sandbox cannot do, tried from inside a real one; and what the daemon refuses to be fooled by."""

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

import pytest

from tests.daemon import PROJECT
from tests.e2e.conftest import ENGINE_SOCKET, House, docker
from tests.support import IMAGE, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

PROBE = Path(__file__).parent / "probe.py"
FIRST_S = 120
NO_PORTS = "1-0"
ALL_PORTS = "1-65535"

# A container of the same image with everything let go that is let go of easily. Nothing is harmed: the probe writes in
# its own layer only, and asks the kernel for nothing that it would do.
UNSEALED = [
    *("--network", "host", "--user", "0", "--cap-add", "SYS_ADMIN", "--tmpfs", "/tmp:exec"),
    *(f"--security-opt={part}=unconfined" for part in ("seccomp", "apparmor", "systempaths")),
    *("--device", "/dev/zero:/dev/mem", "--volume", f"{ENGINE_SOCKET}:/run/engine.sock"),
    *("--env", "MARKED=marked-secret", "--entrypoint", "sh"),
]
WITH_RIGHTS = "cp /bin/true /usr/bin/rights; chmod u+s /usr/bin/rights; sleep 60 & exec python3 - $0 $1 $2"
FOUND_THERE = """
    system call mount, system call unshare (user), system call unshare (network), system call setns,
    system call clone (user), system call clone3, system call bpf, system call keyctl, system call add_key,
    system call ptrace, system call process_vm_readv, system call fsopen, system call perf_event_open,
    system call open_by_handle_at, system call capset, system call personality, system call shmget,
    interfaces, raw socket, packet socket, kernel events socket, loopback port, device: /dev/mem, opened /dev/mem,
    socket: /run/engine.sock, program with rights: /usr/bin/rights, made a block device in /tmp,
    made a character device in /data, opened /proc/sys/kernel/core_pattern, read /proc/timer_list, may write,
    secret in, wrote /x, wrote /etc/x, opened /etc/hosts for writing, ran a program in /tmp,
    CapEff, CapBnd, NoNewPrivs is 0, Seccomp is 0, uid 0, host name, first process,
    opened the log of the engine
"""


async def test_two_people_are_there(house: House) -> None:
    house.world.say(house.robin, "hello")
    house.world.say(house.mika, "hello")

    await house.world.hears(house.robin, 1, within_s=FIRST_S)
    await house.world.hears(house.mika, 1, within_s=FIRST_S)


async def test_a_probe_inside_gets_nowhere_and_finds_nothing(house: House) -> None:
    daemon, secrets = house.world.daemon, house.world.simulator.secrets
    simulator_port = house.world.simulator.url.rpartition(":")[2]
    with socket.create_server(("0.0.0.0", 0)) as everywhere:  # a service of the host that listens on all addresses
        port = everywhere.getsockname()[1]
        targets = [
            *(f"{host}:{port}" for host in ("172.17.0.1", "10.0.0.1", "192.168.0.1", *await own_addresses())),
            *(f"{host}:{daemon.port}" for host in ("127.0.0.1", "172.17.0.1")),
            f"127.0.0.1:{simulator_port}",
            "169.254.169.254:80",
            "1.1.1.1:443",
            "8.8.8.8:53",
            "100.64.0.1:80",
            "224.0.0.251:5353",
            "255.255.255.255:9",
            "[::ffff:169.254.169.254]:80",
            "[fd00:ec2::254]:80",
            "[2606:4700:4700::1111]:443",
            "[fe80::1%lo]:80",
            "[ff02::1%lo]:5353",
        ]
        mikas_token = json.loads(
            (
                Path(daemon.environ["CLAWKAKA_RUNTIME_DIR"]) / house.sandbox(house.mika).id / "config/openclaw.json"
            ).read_text()
        )["gateway"]["auth"]["token"]
        hidden = [
            secrets.app_secret,
            secrets.access_token,
            secrets.verification_token,
            secrets.provisioning_key,
            (daemon.state_dir / "secret").read_text().strip(),
            mikas_token,
        ]
        found = await probe(house, targets, hidden, ALL_PORTS)

    assert found == []


async def test_the_probe_can_find_something(house: House) -> None:
    """A probe that never finds anything proves nothing: its own gateway's token and port are there to be found."""
    own = json.loads(await house.sandbox(house.robin).run("cat", "/etc/clawkaka/openclaw.json"))
    token = own["gateway"]["auth"]["token"]

    found = await probe(house, ["127.0.0.1:18789"], [token], NO_PORTS)

    assert "127.0.0.1:18789: connected" in found
    assert "secret in /etc/clawkaka/openclaw.json" in found


async def probe(house: House, targets: list[str], secrets: list[str], ports: str) -> list[str]:
    """What it found in Robin's sandbox."""
    words = (",".join(targets), ",".join(secrets), ports)
    return list(json.loads(await house.sandbox(house.robin).run("python3", "-", *words, stdin=PROBE.read_text())))


async def test_each_of_its_attempts_works_where_nothing_is_sealed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as here:
        port = here.getsockname()[1]
        words = (f"127.0.0.1:{port}", "marked-secret", f"{port}-{port}")
        arguments = ("run", "--rm", "-i", *UNSEALED, IMAGE, "-c", WITH_RIGHTS, *words)
        found = json.loads(await docker(*arguments, stdin=PROBE.read_text()))

    expected = [word.strip() for word in FOUND_THERE.split(",")]
    assert [word for word in expected if not any(line.startswith(word) for line in found)] == []
    assert f"127.0.0.1:{port}: connected" in found


@pytest.mark.parametrize("target", ["engine", "neighbour"])
async def test_a_symlink_in_place_of_the_socket_is_refused_and_healed(house: House, target: str) -> None:
    daemon, sandbox = house.world.daemon, house.sandbox(house.mika)
    runtime = daemon.environ["CLAWKAKA_RUNTIME_DIR"]
    there = ENGINE_SOCKET if target == "engine" else f"{runtime}/{house.sandbox(house.robin).id}/gateway/gateway.sock"
    assert await daemon.stop() == 0
    said = len(daemon.logged())
    # Closed since the gateway answered; before that, at a start, it is as open as this.
    Path(runtime, sandbox.id, "gateway").chmod(0o2770)
    await sandbox.run("sh", "-c", f"cd /run/clawkaka/gateway && rm gateway.sock && ln -s {there} gateway.sock")

    await daemon.start()

    await eventually(lambda: refusals(daemon.logged()[said:], sandbox.id), within_s=30)
    reply = await house.world.ask(house.mika, "spent 33 on tea", within_s=FIRST_S)
    assert "33" in reply
    assert len(await sandbox.rows("SELECT * FROM expenses WHERE amount_minor = 3300")) == 1
    await sandbox.run("pa", "undo")


def refusals(lines: list[dict[str, str]], sandbox_id: str) -> list[dict[str, str]]:
    return [
        line for line in lines if line.get("sandbox") == sandbox_id and line["message"] == "a gateway cannot be used"
    ]


async def own_addresses() -> list[str]:
    """The host's own addresses, but loopback."""
    process = await asyncio.create_subprocess_exec("hostname", "-I", stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return [address for address in out.decode().split() if ":" not in address]


async def doctor(house: House, *words: str, columns: int = 200) -> tuple[int, str]:
    """`clawkakad doctor sandbox …` beside the daemon; exit code and output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "clawkakad", "doctor", "sandbox", *words),
        env={"PATH": os.environ["PATH"], "COLUMNS": str(columns), **house.world.daemon.environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=PROJECT,
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_the_doctor_finds_every_sandbox_sealed(house: House) -> None:
    code, output = await doctor(house)

    assert code == 0, output
    lines = output.splitlines()
    for person in (house.robin, house.mika):
        assert [True] == ["yes, " in line for line in lines if house.sandbox(person).id in line]


@pytest.mark.parametrize("columns", [200, 40])
async def test_the_doctor_finds_what_was_changed_behind_the_daemons_back(house: House, columns: int) -> None:
    name = house.sandbox(house.mika).name
    await docker("update", "--cpu-shares", "2048", "--pids-limit", "1000", name)
    try:
        code, output = await doctor(house, columns=columns)
        alone, of_robin = await doctor(house, "Robin")
    finally:
        await docker("update", "--cpu-shares", "512", "--pids-limit", "256", name)

    assert code == 1
    assert "rows differ" in " ".join(output.split())
    for row in (("CPU weight", "512", "2048"), ("processes at most", "256", "1000")):
        assert all(word in " ".join(output.split()) for word in row), output
    assert (alone, "yes, " in of_robin) == (0, True), of_robin
    assert (await doctor(house, "Mika"))[0] == 0


async def test_nothing_is_published(house: House) -> None:
    for person in (house.robin, house.mika):
        assert await docker("port", house.sandbox(person).name) == ""
