"""The story of two people and their assistants, on the real engine with the real OpenClaw, told in order."""

import asyncio
from datetime import UTC, datetime

import pytest

from clawkakad.sandboxes.hostmemory import host_memory
from tests.e2e.conftest import HEARTBEAT_S, House, docker
from tests.support import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

STOP_THE_GATEWAY = """
import contextlib, os, pathlib, signal
for process in pathlib.Path("/proc").glob("[0-9]*"):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
        if (process / "comm").read_text().startswith(("node", "openclaw", "MainThread")):
            os.kill(int(process.name), signal.SIGSTOP)
            print("stopped", process.name)
"""
FIRST_S = 120  # container, cold start, first turn
NEXT_S = 60


async def test_a_new_persons_first_message_is_logged_and_answered(house: House) -> None:
    reply = await house.world.ask(house.robin, "Uber to office 280", within_s=FIRST_S)

    assert "280" in reply
    assert "Transport" in reply
    (row,) = await house.sandbox(house.robin).rows("SELECT * FROM expenses")
    assert (row["amount_minor"], row["currency"], row["category"]) == (28000, "INR", "Transport")
    assert row["zone"] == "Asia/Kolkata"
    assert "Uber to office" in row["what"]


async def test_the_container_is_sealed_as_designed(house: House) -> None:
    facts = await house.sandbox(house.robin).inspect()
    host = facts["HostConfig"]

    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert "no-new-privileges" in host["SecurityOpt"]
    assert host["Privileged"] is False
    assert facts["Config"]["User"] == "1000:1000"
    assert host["PidsLimit"] == 256
    limits = (512, 2048) if host_memory().has_swap else (1280, 1280)
    assert (host["Memory"], host["MemorySwap"]) == tuple(limit * 1024 * 1024 for limit in limits)
    assert set(host["Tmpfs"]) == {"/tmp"}
    assert host["RestartPolicy"]["Name"] == "no"
    assert not host["PortBindings"]
    assert not host["Devices"]
    assert host["GroupAdd"] == [str(house.world.daemon.gid)]
    writable = {m["Destination"]: m["RW"] for m in facts["Mounts"]}
    assert writable == {
        "/data": True,
        "/run/clawkaka/gateway": True,
        "/run/clawkaka/host": False,
        "/etc/clawkaka": False,
    }


async def test_a_second_person_has_a_container_and_data_of_their_own(house: House) -> None:
    reply = await house.world.ask(house.mika, "spent 450 on lunch", within_s=FIRST_S)

    assert "450" in reply
    assert house.sandbox(house.mika).id != house.sandbox(house.robin).id
    (row,) = await house.sandbox(house.mika).rows("SELECT * FROM expenses")
    assert (row["amount_minor"], row["currency"]) == (45000, "EUR")
    assert len(await house.sandbox(house.robin).rows("SELECT * FROM expenses")) == 1


async def test_a_killed_daemon_comes_back_to_the_same_container_and_conversation(house: House) -> None:
    before = await house.sandbox(house.robin).inspect()
    await house.world.daemon.kill()
    house.world.say(house.robin, "how much today?")
    await house.world.daemon.start()

    reply = (await house.world.hears(house.robin, 2, within_s=NEXT_S))[1]

    assert "280" in reply
    after = await house.sandbox(house.robin).inspect()
    assert after["Id"] == before["Id"]
    assert after["State"]["StartedAt"] == before["State"]["StartedAt"]


async def test_a_reminder_comes_at_its_minute_and_needs_no_model(house: House) -> None:
    reply = await house.world.ask(house.robin, "remind me in 1 minute to stretch", within_s=NEXT_S)
    assert "stretch" in reply
    (reminder,) = house.world.daemon.rows("SELECT * FROM reminders WHERE state = 'pending'")
    calls = house.world.daemon.rows("SELECT sum(calls) AS n FROM usage")

    heard = await house.world.hears(house.robin, 4, within_s=75)

    late_s = (datetime.now(UTC) - datetime.fromisoformat(reminder["due_at"])).total_seconds()
    assert heard[3].startswith("⏰")
    assert "stretch" in heard[3]
    assert -0.5 <= late_s <= 5
    assert house.world.daemon.rows("SELECT sum(calls) AS n FROM usage") == calls


async def test_a_heartbeat_speaks_once_of_an_overdue_task_and_else_stays_silent(house: House) -> None:
    robins, mikas = len(house.world.heard(house.robin)), len(house.world.heard(house.mika))
    await house.sandbox(house.robin).run("pa", "task", "add", "Pay rent", "--due", "yesterday")

    heard = await house.world.hears(house.robin, robins + 1, within_s=4 * HEARTBEAT_S + 30)
    assert "rent" in heard[robins].lower()

    beats = house.world.daemon.rows("SELECT last_at FROM heartbeats")
    await eventually(
        lambda: all(
            now["last_at"] and now["last_at"] > (then["last_at"] or "")
            for now, then in zip(house.world.daemon.rows("SELECT last_at FROM heartbeats"), beats, strict=True)
        ),
        within_s=4 * HEARTBEAT_S + 30,
        every_s=0.5,
    )
    assert len(house.world.heard(house.robin)) == robins + 1
    assert len(house.world.heard(house.mika)) == mikas


async def test_a_heartbeat_still_works_after_a_restart(house: House) -> None:
    mikas = len(house.world.heard(house.mika))
    assert await house.world.daemon.stop() == 0
    await house.world.daemon.start()
    await house.sandbox(house.mika).run("pa", "task", "add", "Call the bank", "--due", "yesterday")

    heard = await house.world.hears(house.mika, mikas + 1, within_s=4 * HEARTBEAT_S + 60)

    assert "bank" in heard[mikas].lower()


async def test_a_killed_gateway_is_healed_and_the_waiting_message_answered(house: House) -> None:
    sandbox = house.sandbox(house.robin)
    before = await sandbox.inspect()
    await docker("kill", "--signal", "KILL", sandbox.name)

    reply = await house.world.ask(house.robin, "spent 120 on chai", within_s=FIRST_S)

    assert "120" in reply
    after = await sandbox.inspect()
    assert after["Id"] == before["Id"]
    assert after["State"]["StartedAt"] != before["State"]["StartedAt"]
    assert len(await sandbox.rows("SELECT * FROM expenses WHERE amount_minor = 12000")) == 1


async def test_a_heartbeat_still_works_after_the_container_was_restarted(house: House) -> None:
    """And so after its socket was dropped: the kill before this ended both."""
    robins = len(house.world.heard(house.robin))
    await house.sandbox(house.robin).run("pa", "task", "add", "Water the plants", "--due", "yesterday")

    heard = await house.world.hears(house.robin, robins + 1, within_s=4 * HEARTBEAT_S + 60)

    assert "plants" in heard[robins].lower()


async def test_a_hanging_gateway_is_found_and_healed(house: House) -> None:
    sandbox = house.sandbox(house.robin)
    before = await sandbox.inspect()
    assert "stopped" in await sandbox.run("python3", "-", stdin=STOP_THE_GATEWAY)

    reply = await house.world.ask(house.robin, "spent 90 on tea", within_s=FIRST_S + 60)

    assert "90" in reply
    assert (await sandbox.inspect())["State"]["StartedAt"] != before["State"]["StartedAt"]


async def test_logs_hold_no_text_no_secret_and_no_number(house: House) -> None:
    log = house.world.daemon.log.read_text()
    secrets = house.world.simulator.secrets

    for canary in (
        "Uber to office",
        "stretch",
        "Pay rent",
        house.robin.wa_id,
        house.mika.wa_id,
        secrets.app_secret,
        secrets.access_token,
        secrets.verification_token,
        (house.world.daemon.state_dir / "secret").read_text().strip(),
    ):
        assert canary not in log
    assert not [line for line in house.world.daemon.logged() if "Traceback" in str(line)]


async def test_removing_a_sandbox_leaves_nothing_of_it(house: House) -> None:
    sandbox = house.sandbox(house.mika)
    daemon = house.world.daemon
    process = await asyncio.create_subprocess_exec(
        "/usr/bin/env",
        *(f"{name}={value}" for name, value in daemon.environ.items() if name.startswith("CLAWKAKA_")),
        f"PYTHONPATH={daemon.packages}",
        *("python3", "-m", "clawkakad", "sandbox", "rm", "Mika", "--yes"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd="/",
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()

    await eventually(lambda: not daemon.rows("SELECT 1 FROM sandboxes WHERE id = ?", sandbox.id), within_s=30)
    assert await docker("ps", "-aq", "--filter", f"name={sandbox.name}") == ""
    assert await docker("volume", "ls", "-q", "--filter", f"name={sandbox.name}") == ""
