"""The operator's commands beside a running daemon, and keys that come and go with their person."""

import asyncio
import os
import re
import sqlite3
import sys
from pathlib import Path

import pytest

from tests.daemon import PROJECT
from tests.scenarios.conftest import Stage
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)


async def command(stage: Stage, *words: str, stdin: bytes = b"", cwd: Path = PROJECT) -> tuple[int, str]:
    """Run `clawkakad …` in the daemon's environment; exit code, and all that it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "clawkakad", *words),
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(PROJECT),
            "COLUMNS": "200",
            **stage.world.daemon.environ,
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=cwd,
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate(stdin)
    assert process.returncode is not None
    assert "Traceback" not in output.decode()
    return process.returncode, output.decode()


def change(stage: Stage, sql: str) -> None:
    """A state that takes long to come about."""
    connection = sqlite3.connect(stage.world.daemon.state_dir / "registry.sqlite")
    with connection:
        connection.execute(sql)
    connection.close()


async def with_own_keys(stage: Stage) -> None:
    """Start the daemon with a provisioning key, as OpenRouter would have given it."""
    key = stage.world.simulator.secrets.provisioning_key
    stage.world.daemon.environ = {**stage.world.daemon.environ, "OPENROUTER_PROVISIONING_KEY": key}
    await stage.world.daemon.start()


async def test_each_person_has_a_key_with_a_limit_and_it_goes_with_them(stage: Stage) -> None:
    await with_own_keys(stage)
    robin, mika = stage.person("Robin"), stage.person("Mika")
    await stage.world.ask(robin, "hello")
    await stage.world.ask(mika, "hello")

    keys = stage.world.simulator.openrouter.keys
    assert len(keys) == 2
    assert {key.limit for key in keys.values()} == {5.0}
    hashes = {row["key_hash"] for row in stage.world.daemon.rows("SELECT key_hash FROM sandboxes")}
    assert hashes == set(keys)

    code, output = await command(stage, "sandbox", "rm", "Robin", "--yes")

    assert code == 0, output
    assert len(stage.world.simulator.openrouter.keys) == 1
    assert len(stage.engine.containers) == len(stage.engine.volumes) == 1


async def test_keys_are_nowhere_but_in_their_file(stage: Stage) -> None:
    await with_own_keys(stage)
    await stage.world.ask(stage.person(), "hello")
    (file,) = (stage.world.daemon.state_dir / "keys").iterdir()
    secret = file.read_text().strip()

    assert file.stat().st_mode & 0o777 == 0o600
    assert secret.startswith("sk-or-")
    assert secret not in str(stage.container().body)
    assert secret not in stage.world.daemon.log.read_text()
    for path in [
        *stage.world.daemon.state_dir.glob("registry*"),
        *Path(stage.world.daemon.environ["CLAWKAKA_RUNTIME_DIR"]).rglob("*.json"),
    ]:
        assert secret.encode() not in path.read_bytes(), path


async def test_a_removed_person_who_writes_again_starts_afresh(stage: Stage) -> None:
    robin = stage.person("Robin")
    await stage.world.daemon.start()
    await stage.world.ask(robin, "hello")
    before = stage.world.daemon.rows("SELECT id FROM sandboxes")

    assert (await command(stage, "sandbox", "rm", "Robin", "--yes"))[0] == 0

    assert await stage.world.ask(robin, "hello again") == "echo: hello again"
    assert stage.world.daemon.rows("SELECT id FROM sandboxes") != before


async def test_users_and_sandboxes_are_listed_with_masked_numbers(stage: Stage) -> None:
    robin = stage.world.person("Robin", "+91 98765 43210")
    await stage.world.daemon.start()
    await stage.world.ask(robin, "hello")

    code, people = await command(stage, "users")
    assert code == 0
    assert "Robin" in people
    assert "Asia/Kolkata" in people
    assert robin.wa_id not in people

    code, sandboxes = await command(stage, "sandbox", "list")
    assert code == 0
    assert "ready" in sandboxes
    assert "running" in sandboxes

    stage.container().log.append("gateway ready")
    assert "gateway ready" in (await command(stage, "sandbox", "logs", "+91 98765-43210"))[1]


async def test_a_name_that_is_a_number_is_masked_in_every_list(stage: Stage) -> None:
    robin = stage.world.person("+91 98765 43210", "+91 98765 43210")
    await stage.world.daemon.start()
    await stage.world.ask(robin, "hello")

    for words in (
        ["users"],
        ["sandbox", "list"],
        ["outbox", "list", "--all"],
        ["inbox", "list", "--state", "answered"],
    ):
        code, output = await command(stage, *words)
        assert code == 0
        assert "…10" in output
        assert "98765" not in output


async def test_nobody_of_that_name_is_told_in_a_line(stage: Stage) -> None:
    await stage.world.daemon.start()

    code, output = await command(stage, "sandbox", "rm", "Nobody", "--yes")

    assert code == 2
    assert output.count("\n") == 1
    assert "clawkakad users" in output


async def test_the_doctor_sees_a_healthy_installation(stage: Stage) -> None:
    await stage.world.daemon.start()
    await stage.world.ask(stage.person(), "hello")

    code, output = await command(stage, "doctor")

    assert code == 0, output
    for check in ("settings", "engine", "sandbox image", "registry", "daemon", "WhatsApp", "model"):
        assert f"\n{check}" in "\n" + output.replace("\n ", "\n"), check
    assert "sound; 1 people" in output or "sound; 1 person" in output


async def test_the_doctor_says_what_to_do(stage: Stage) -> None:
    stage.engine.images.clear()
    await stage.world.daemon.start()
    stage.world.daemon.environ = {**stage.world.daemon.environ, "WHATSAPP_ACCESS_TOKEN": "expired-token"}

    code, output = await command(stage, "doctor")

    assert code == 1
    assert "clawkakad image build" in output
    assert "make a new system user token" in output


async def test_the_doctor_names_sandboxes_that_are_nobodys_and_how_they_go(stage: Stage) -> None:
    await stage.world.daemon.start()
    await stage.world.ask(stage.person(), "hello")
    assert re.search(r"^stray sandboxes +ok +none *$", (await command(stage, "doctor"))[1], re.MULTILINE)
    await stage.world.daemon.stop()
    change(stage, "UPDATE sandboxes SET id = 's0000000000'")  # as if a backup from before its making was restored
    name = stage.container().name

    output = (await command(stage, "doctor"))[1]

    assert re.search(rf"^stray sandboxes +look +{name}: a container", output, re.MULTILINE), output
    assert f"{name}-data: a volume that is nobody's" in output
    assert f"docker rm -f {name}; docker volume rm {name}-data" in output


async def test_the_doctor_tells_once_that_no_engine_answers_and_where(stage: Stage) -> None:
    address = "unix:///nonexistent"
    stage.world.daemon.environ = {**stage.world.daemon.environ, "DOCKER_HOST": address}

    code, output = await command(stage, "doctor")

    assert code == 1
    assert re.search(rf"^engine +no +no engine answers at {address} *\n +→ start Docker", output, re.MULTILINE), output
    assert output.count("not checked: the engine first") == 4
    assert "did not answer" not in output


async def test_what_a_terminal_cannot_show_is_replaced(stage: Stage) -> None:
    stage.world.daemon.environ = {**stage.world.daemon.environ, "PYTHONIOENCODING": "ascii"}

    code, output = await command(stage, "doctor")

    assert code == 0, output
    assert "? set OPENROUTER_API_KEY" in output


@pytest.mark.parametrize("words", [["doctor"], ["users"], ["--version"]], ids=" ".join)
async def test_an_output_that_cannot_be_written_is_told_in_a_line(stage: Stage, words: list[str]) -> None:
    await stage.world.daemon.start()
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'exec "$0" "$@" >/dev/full', sys.executable, "-m", "clawkakad", *words),
        env={"PATH": os.environ["PATH"], **stage.world.daemon.environ},
        stderr=asyncio.subprocess.PIPE,
        cwd=PROJECT,
    )
    _, said = await process.communicate()

    assert said.decode() == "clawkakad: the output cannot be written: No space left on device\n"
    assert process.returncode == 2


async def test_the_doctor_says_that_a_disk_was_not_measured_yet(stage: Stage) -> None:
    await stage.world.daemon.start()
    await stage.world.ask(stage.person(), "hello")

    output = (await command(stage, "doctor"))[1]

    assert re.search(r"^sandbox disks +ok +1 sandbox not measured yet *$", output, re.MULTILINE), output
    assert re.search(r"^memory +\w+ +\d+ MiB of memory, \d+ MiB of swap", output, re.MULTILINE), output


async def test_the_doctor_names_each_missing_setting_in_a_line_at_any_width(stage: Stage) -> None:
    missing = ["WHATSAPP_APP_SECRET", "WHATSAPP_VERIFICATION_TOKEN", "WHATSAPP_SENDER_PHONE_NUMBER_ID"]
    unset = dict.fromkeys(missing, "")
    stage.world.daemon.environ = {**stage.world.daemon.environ, **unset, "COLUMNS": "80"}

    code, output = await command(stage, "doctor")

    assert code == 1
    lines = [line.strip() for line in output.splitlines()]
    for name in missing:
        assert any(line.endswith(f"{name}: is not set") for line in lines), output


async def test_nuke_needs_the_typed_word_and_then_leaves_nothing(stage: Stage) -> None:
    await stage.world.daemon.start()
    await stage.world.ask(stage.person(), "hello")
    assert "another clawkakad runs" in (await command(stage, "nuke", "--yes"))[1]
    await stage.world.daemon.stop()

    code, output = await command(stage, "nuke", stdin=b"no\n")
    assert code == 2
    assert output.endswith("Type nuke to go on: \nclawkakad: nothing was removed\n")
    assert len(stage.engine.containers) == 1

    code, output = await command(stage, "nuke", stdin=b"nuke\n")
    assert code == 0, output
    assert stage.engine.containers == {}
    assert stage.engine.volumes == {}
    assert not stage.world.daemon.state_dir.exists()


async def test_a_nuke_that_is_broken_off_ends_its_line(stage: Stage) -> None:
    await stage.world.daemon.start()
    await stage.world.daemon.stop()

    code, output = await command(stage, "nuke", "--images")

    assert code == 2
    assert "the image clawkaka-sandbox:latest and its build stages" in output
    assert output.endswith("Type nuke to go on: \nclawkakad: nothing was removed\n")
    assert stage.world.daemon.state_dir.exists()


async def test_nuke_removes_the_image_last_and_keeps_it_for_another_installation(stage: Stage) -> None:
    await stage.world.daemon.start()
    await stage.world.ask(stage.person(), "hello")
    await stage.world.daemon.stop()
    stage.engine.fail = ("DELETE /images", 409)

    code, output = await command(stage, "nuke", "--images", "--yes")

    assert code == 0, output
    assert "kept the image clawkaka-sandbox:latest" in output
    assert "removed 1 sandbox\n" in output
    assert not stage.world.daemon.state_dir.exists()
    assert " DEBUG " not in output
    assert " INFO " not in output


async def test_nuke_takes_only_what_is_ours(stage: Stage) -> None:
    await with_own_keys(stage)
    await stage.world.ask(stage.person(), "hello")
    await stage.world.daemon.stop()
    state, runtime = stage.world.daemon.state_dir, Path(stage.world.daemon.environ["CLAWKAKA_RUNTIME_DIR"])
    theirs = [state / "notes.txt", state / "keys" / "house.txt", runtime / "screensaver" / "settings"]
    for path in theirs:
        path.parent.mkdir(exist_ok=True)
        path.write_text("precious")

    code, output = await command(stage, "nuke", "--yes")

    assert code == 0, output
    assert f"{state} stays, for what else is in it: keys, notes.txt" in output
    assert f"{runtime} stays, for what else is in it: screensaver" in output
    assert {path for top in (state, runtime) for path in top.rglob("*") if path.is_file()} == set(theirs)


async def test_nuke_leaves_sockets_alone_that_another_installation_has_in_use(stage: Stage) -> None:
    await stage.world.daemon.start()
    await stage.world.ask(stage.person(), "hello")
    runtime = Path(stage.world.daemon.environ["CLAWKAKA_RUNTIME_DIR"])
    before = set(runtime.rglob("*"))
    another = stage.world.daemon.state_dir.with_name("another")
    another.mkdir()
    (another / "instance").write_text("0123456789ab\n")

    code, output = await command(stage, "nuke", "--yes", "--state", str(another))

    assert code == 0, output
    assert not another.exists()
    assert set(runtime.rglob("*")) >= before
    assert await stage.world.ask(stage.person("Mika"), "hello") == "echo: hello"


async def test_backups_outlive_a_nuke_and_the_state_begins_anew_beside_them(stage: Stage) -> None:
    await stage.world.daemon.start()
    await stage.world.ask(stage.person(), "hello")
    await stage.world.daemon.stop()
    state = stage.world.daemon.state_dir
    (state / "backup.lock").touch()
    (state / "backups").mkdir()
    (state / "backups" / "kept").touch()

    for _ in range(2):
        code, output = await command(stage, "nuke", "--yes")
        assert code == 0, output
        assert output.endswith(f"{state} stays, for what else is in it: backups\n")

    await stage.world.daemon.start()
    assert await stage.world.ask(stage.person("Mika"), "hello") == "echo: hello"
    assert (state / "backups" / "kept").exists()


async def test_a_lock_that_is_left_alone_goes_too(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "backup.lock").touch()

    code, output = await command(stage, "nuke", "--yes", "--state", str(tmp_path))

    assert code == 0, output
    assert not tmp_path.exists()


@pytest.mark.parametrize("words", [("nuke", "--yes"), ("try", "hi", "--fresh"), ("try", "hi")], ids=" ".join)
async def test_a_directory_of_somebody_else_is_left_as_it_is(stage: Stage, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "precious").write_text("x")
    tmp_path.chmod(0o755)

    code, output = await command(stage, *words, "--state", str(tmp_path))

    assert code == 2
    assert output.count("\n") == 1, output
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    assert tmp_path.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("name", ["Bob [/b]", "[link=https://example.org]Bob[/link]", "[red]Bob :smile:"])
async def test_a_name_is_shown_as_it_is_written(stage: Stage, name: str) -> None:
    await stage.world.daemon.start()
    await stage.world.ask(stage.person(name), "hello")

    for words in (["users"], ["sandbox", "list"], ["sandbox", "rm", name, "--yes"], ["sandbox", "rm", name, "--yes"]):
        assert name in (await command(stage, *words))[1], words


async def test_what_a_sandbox_prints_commands_no_terminal(stage: Stage) -> None:
    await stage.world.daemon.start()
    await stage.world.ask(stage.person("Robin"), "hello")
    stage.container().log.append("\tto \x1b]52;c;cm0gLXJmIH4=\x07the \u202eclipboard")

    output = (await command(stage, "sandbox", "logs", "Robin"))[1]

    assert "\tto \\x1b]52;c;cm0gLXJmIH4=\\x07the \\u202eclipboard\n" in output
    assert not {"\x1b", "\x07", "\u202e"} & set(output)


@pytest.mark.parametrize(
    "words", [("try", "hi", "--port", "99999"), ("simulator", "--port", "65536"), ("try", "hi", " ")]
)
async def test_what_cannot_be_done_is_refused_at_once(stage: Stage, words: list[str]) -> None:
    code, output = await command(stage, *words)

    assert code == 2
    assert "65535" in output or output == "clawkakad: an empty message cannot be sent\n"


async def test_an_unknown_command_is_no_traceback(stage: Stage) -> None:
    assert (await command(stage, "frobnicate"))[0] == 2


async def test_the_first_key_of_a_person_survives_a_kill_in_the_making(stage: Stage) -> None:
    """Killed between OpenRouter's answer and our file: the orphan is deleted there and a new key made."""
    await with_own_keys(stage)
    await stage.world.ask(stage.person(), "hello")
    (file,) = (stage.world.daemon.state_dir / "keys").iterdir()
    await stage.world.daemon.kill()
    file.unlink()
    before = set(stage.world.simulator.openrouter.keys)
    await stage.engine.die(stage.container().name, 1)
    stage.engine.containers.clear()

    await stage.world.daemon.start()

    await eventually(lambda: set(stage.world.simulator.openrouter.keys) not in (before, set()), within_s=20)
    assert len(stage.world.simulator.openrouter.keys) == 1
