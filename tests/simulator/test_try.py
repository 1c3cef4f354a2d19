"""`clawkakad try`: its directory, its child, its talks; and the whole of it on the real engine."""

import asyncio
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clawkakad.cli import conversation
from clawkakad.cli.child import free_port as port_like
from clawkakad.cli.child import running_child
from clawkakad.cli.common import clock
from clawkakad.cli.conversation import NoReply, send_all, styled
from clawkakad.cli.progress import UNKNOWN, stage_of
from clawkakad.cli.trial import DIRECTORY, MARK, Trial, daemon_environ, opened_trial, runtime_dir_of
from clawkakad.cli.try_ import _say_what_stays
from clawkakad.cli.welcome import Welcome
from clawkakad.cli.where import is_trial_here
from clawkakad.config import load_settings
from clawkakad.errors import UsageError
from clawkakad.model import IdentifierKind
from clawkakad.registry import FILE, open_registry
from clawkakad.registry.users import ensure_user
from clawkakad.values import LONGEST_SOCKET, SOCKET_PATH_LIMIT
from tests.simulator.conftest import Pair
from tests.simulator.daemon import echo
from tests.support import NOWHERE, SCALE, eventually, free_port, short_directory

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = Path(__file__).with_name("stand_in.py")


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as made:
        yield made / "trial"


class TestDirectory:
    def test_secrets_are_made_once_and_for_the_owner_alone(self, directory: Path) -> None:
        with opened_trial(directory, fresh=False) as first:
            assert (directory / MARK).stat().st_mode & 0o077 == 0
            assert directory.stat().st_mode & 0o077 == 0
        with opened_trial(directory, fresh=False) as second:
            assert second.secrets == first.secrets

    def test_two_at_once_are_one_too_many(self, directory: Path) -> None:
        with (
            opened_trial(directory, fresh=False),
            pytest.raises(UsageError, match="another"),
            opened_trial(directory, fresh=False),
        ):
            pass

    def test_a_directory_of_something_else_is_never_removed(self, tmp_path: Path) -> None:
        (tmp_path / "precious").write_text("x")

        with pytest.raises(UsageError, match="not made by"), opened_trial(tmp_path, fresh=True):
            pass

        assert (tmp_path / "precious").exists()

    def test_a_directory_of_something_else_is_never_used(self, tmp_path: Path) -> None:
        (tmp_path / "precious").write_text("x")
        tmp_path.chmod(0o755)

        with pytest.raises(UsageError, match="not made by"), opened_trial(tmp_path, fresh=False):
            pass

        assert [path.name for path in tmp_path.iterdir()] == ["precious"]
        assert tmp_path.stat().st_mode & 0o777 == 0o755

    @pytest.mark.parametrize("fresh", [False, True])
    def test_backups_and_measurements_are_no_hindrance_and_stay(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch, *, fresh: bool
    ) -> None:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{directory}/no-engine")
        for name in ("backups", "bench"):
            (directory / name).mkdir(parents=True)
            (directory / name / "kept").write_text("x")

        with opened_trial(directory, fresh=fresh):
            assert (directory / MARK).exists()
        assert (directory / "backups" / "kept").exists()
        assert (directory / "bench" / "kept").exists()

    def test_what_is_no_directory_is_told_in_a_line(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        for fresh in (False, True):
            with pytest.raises(UsageError, match="cannot be used"), opened_trial(tmp_path / "file", fresh=fresh):
                pass

    def test_a_trial_that_was_killed_in_the_making_is_taken_up_again(self, directory: Path) -> None:
        with opened_trial(directory, fresh=False):
            (directory / MARK).unlink()

        with opened_trial(directory, fresh=False) as again:
            assert (directory / MARK).exists()
            assert again.runtime_dir.is_dir()

    def test_sockets_fit_however_long_the_path_is(self, tmp_path: Path) -> None:
        for name in ("a", "b" * 150):
            path = runtime_dir_of(tmp_path / name)
            assert len(os.fsencode(path)) + len(LONGEST_SOCKET) <= SOCKET_PATH_LIMIT
        assert runtime_dir_of(Path("/srv/x")) == Path("/srv/x/run")
        assert runtime_dir_of(tmp_path / ("b" * 150)) != runtime_dir_of(tmp_path / ("c" * 150))

    def test_the_daemon_takes_its_environment_and_nothing_of_a_real_one(self, directory: Path) -> None:
        real = {
            "PATH": "/bin",
            "WHATSAPP_ACCESS_TOKEN": "EAAreal",
            "WHATSAPP_APP_SECRET_FILE": "/etc/secret",
            "NOTIFY_SOCKET": "/run/systemd/notify",
            "CLAWKAKA_ALLOW": "+49 1512 3456789",
            "OPENROUTER_API_KEY": "sk-or-v1-key-of-theirs",
        }
        with opened_trial(directory, fresh=False) as trial:
            environ = daemon_environ(trial, port=3001, simulator_url="http://127.0.0.1:3002", environ=real)

        settings = load_settings(environ)
        assert settings.api_base_url == "http://127.0.0.1:3002"
        assert settings.access_token.get_secret_value() == trial.secrets.access_token
        assert settings.state_dir == trial.directory
        assert settings.openrouter_api_key is not None
        assert "EAAreal" not in environ.values()
        assert not {"NOTIFY_SOCKET", "WHATSAPP_APP_SECRET_FILE"} & set(environ)


class TestChild:
    @staticmethod
    def environ(trial: Trial, port: int) -> dict[str, str]:
        return daemon_environ(trial, port=port, simulator_url="http://127.0.0.1:9", environ=os.environ)

    @staticmethod
    def command(kind: str) -> list[str]:
        return [sys.executable, str(STAND_IN), kind]

    async def test_it_serves_and_is_stopped(self, directory: Path) -> None:
        port = free_port()
        with opened_trial(directory, fresh=False) as trial:
            environ = self.environ(trial, port)
            async with running_child(environ, trial.log, port=port, command=self.command("serve")) as child:
                assert child.process.returncode is None
            assert child.process.returncode == -signal.SIGTERM
            assert "serving" in trial.log.read_text()
            assert trial.log.stat().st_mode & 0o077 == 0

    async def test_its_own_words_are_passed_on_when_it_does_not_start(self, directory: Path) -> None:
        port = free_port()
        with opened_trial(directory, fresh=False) as trial:
            trial.log.write_text("clawkakad: words of an earlier run\n")
            with pytest.raises(UsageError, match=r"\APORT: must be a number\Z"):
                async with running_child(
                    self.environ(trial, port), trial.log, port=port, command=self.command("refuse")
                ):
                    pass

    async def test_without_words_the_log_is_named(self, directory: Path) -> None:
        port = free_port()
        with opened_trial(directory, fresh=False) as trial, pytest.raises(UsageError, match=r"daemon\.log"):
            async with running_child(self.environ(trial, port), trial.log, port=port, command=self.command("crash")):
                pass

    async def test_it_is_said_before_it_is_stopped_in_the_middle_of_its_start(self, directory: Path) -> None:
        said = asyncio.Event()
        with opened_trial(directory, fresh=False) as trial:

            async def start() -> None:
                command = [sys.executable, "-c", "import time; time.sleep(60)"]
                async with running_child(self.environ(trial, 1), trial.log, port=1, command=command, stopping=said.set):
                    pass

            task = asyncio.create_task(start())
            await eventually(trial.log.exists)
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert said.is_set()

    async def test_a_second_wish_to_stop_is_not_waited_for(self, directory: Path) -> None:
        port = free_port()
        serving: asyncio.Future[asyncio.subprocess.Process] = asyncio.get_running_loop().create_future()
        with opened_trial(directory, fresh=False) as trial:

            async def work() -> None:
                async with running_child(
                    self.environ(trial, port), trial.log, port=port, command=self.command("deaf")
                ) as child:
                    serving.set_result(child.process)

            task = asyncio.create_task(work())
            process = await serving
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await eventually(lambda: process.returncode == -signal.SIGKILL)

    def test_a_taken_port_is_passed_over(self) -> None:
        port = free_port()
        with subprocess.Popen(
            self.command("serve"), env={**os.environ, "PORT": str(port), "CLAWKAKA_STATE_DIR": "x"}, stdout=-1
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            deadline = time.monotonic() + 5 * SCALE
            while port_like(port) == port and time.monotonic() < deadline:
                time.sleep(0.02)
            assert port_like(port) != port
            process.terminate()


class TestTalks:
    async def test_only_replies_are_on_standard_output(
        self, pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pair.daemon.on_text = echo

        await send_all(pair.simulator.exchange, pair.robin, ["one", "two"], tmp_path, tmp_path / "log")

        printed = capsys.readouterr()
        assert printed.out == "You said: one\nYou said: two\n"
        assert "sending your message" in printed.err

    async def test_a_reply_in_parts_is_printed_whole(
        self, pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        async def answer(daemon: object, message: dict[str, object]) -> None:
            for part in ("first", "second"):
                await pair.daemon.send("+15550100123", part)

        pair.daemon.on_text = answer

        await send_all(pair.simulator.exchange, pair.robin, ["hi"], tmp_path, tmp_path / "log")

        assert capsys.readouterr().out == "first\nsecond\n"

    async def test_no_reply_is_told_with_the_log(self, pair: Pair, tmp_path: Path) -> None:
        with pytest.raises(NoReply, match=r"the\.log"):
            await send_all(pair.simulator.exchange, pair.robin, ["hi"], tmp_path, tmp_path / "the.log", reply_s=0.05)

    async def test_without_a_registry_the_stage_is_unknown(self, pair: Pair, tmp_path: Path) -> None:
        assert await stage_of(tmp_path, pair.robin) == UNKNOWN

    def test_the_welcome_says_who_one_is_and_links_to_them(self, pair: Pair, tmp_path: Path) -> None:
        asha = pair.simulator.exchange.add_person("Asha", "+91 98765 43210")

        def said(**environ: str) -> list[str]:
            return [line.plain for line in Welcome("http://127.0.0.1:3002", asha, tmp_path, environ).lines("/quit")]

        link, who, *_, log = said()
        assert link == "Chat page: http://127.0.0.1:3002/?as=919876543210"
        assert who == "You are Asha, +91 98765 43210, in Asia/Kolkata; the offline model answers."
        assert log == str(tmp_path)
        assert "ssh -L 3002:127.0.0.1:3002 <this server>" in said(SSH_CONNECTION="x")[1]
        assert "ssh" not in "".join(said(SSH_CONNECTION="x", DISPLAY=":0"))

    def test_marks_become_styles(self) -> None:
        shown = styled("*bold* a_b_c _it_ 2*3*4")

        assert shown.plain == "bold a_b_c it 2*3*4"
        assert [span.style for span in shown.spans] == ["bold", "italic"]


class Terminal:
    """The other end of a terminal on which a program runs."""

    def __init__(self, *command: str) -> None:
        self.shown = b""
        self._pid, self._end = pty.fork()
        if self._pid == 0:
            os.chdir(ROOT)
            os.execv(command[0], command)

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    async def sees(self, text: str) -> None:
        await eventually(lambda: text.encode() in self._read(), within_s=15)

    async def exit_code(self) -> int:
        ended: list[int] = await eventually(self._ended, within_s=15)
        return ended[0]

    def _ended(self) -> list[int]:
        """The exit code, once there is one."""
        self._read()
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        return [os.waitstatus_to_exitcode(status)] if pid else []

    def _read(self) -> bytes:
        while select.select([self._end], [], [], 0)[0]:
            try:
                more = os.read(self._end, 65536)
            except OSError:  # nobody at the other end any more
                break
            if not more:
                break
            self.shown += more
        return self.shown


@pytest.mark.parametrize("ending", ["/quit\n", "\x04"], ids=["quit", "ctrl-d"])
async def test_a_chat_on_the_terminal(ending: str) -> None:
    terminal = Terminal(sys.executable, "-m", "tests.simulator.terminal")
    await terminal.sees(conversation.PROMPT)
    terminal.type("hello\n")
    await terminal.sees(conversation.TYPING_PROMPT)
    await terminal.sees("You said: hello")
    terminal.type("again\n")
    await terminal.sees("You said: again")
    terminal.type("/help\n")
    await terminal.sees(conversation.HELP)
    assert b"You said: /help" not in terminal.shown
    terminal.type(ending)

    await terminal.sees("the end")
    assert await terminal.exit_code() == 0


def clawkakad(*words: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clawkakad", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=280,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
    )


def test_a_port_that_is_taken_is_one_line(directory: Path) -> None:

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        directory.mkdir()
        done = clawkakad("try", "hi", "--port", str(port), "--state", str(directory), cwd=directory)

    assert done.returncode == 2
    assert done.stdout == ""
    assert [line for line in done.stderr.splitlines() if line.startswith("clawkakad:")] == [
        f"clawkakad: port {port} of 127.0.0.1 cannot be used for the simulator: Address already in use"
    ]


def test_a_commands_own_directory_may_hold_a_trial(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory.mkdir()
    monkeypatch.chdir(directory)
    nowhere = directory / "nowhere"
    assert not is_trial_here({}, installed=nowhere)
    with opened_trial(DIRECTORY, fresh=False):
        pass

    assert is_trial_here({}, installed=nowhere)
    assert not is_trial_here({}, installed=directory)
    assert not is_trial_here({"CLAWKAKA_STATE_DIR": "/srv/x"}, installed=nowhere)


def test_the_help_says_what_a_fresh_start_leaves(directory: Path) -> None:
    directory.mkdir()
    words = clawkakad("try", "--help", cwd=directory).stdout

    assert "but for backups" in " ".join(words.replace("│", " ").split())


@pytest.mark.skipif(Path("/var/lib/clawkakad").exists(), reason="an installation is here")
def test_the_doctor_looks_at_a_trial(directory: Path) -> None:
    directory.mkdir()
    with opened_trial(directory / DIRECTORY, fresh=False):
        pass

    done = clawkakad("doctor", cwd=directory)

    assert done.stderr == "looking at the trial in .clawkaka\n"
    settings = next(line for line in done.stdout.splitlines() if "settings" in line)
    assert "ok" in settings.split()


@pytest.mark.skipif(Path("/var/lib/clawkakad").exists(), reason="an installation is here")
def test_a_wrong_address_of_the_engine_is_a_row_of_the_doctor(directory: Path) -> None:
    directory.mkdir()
    with opened_trial(directory / DIRECTORY, fresh=False):
        pass

    done = clawkakad("doctor", cwd=directory, DOCKER_HOST="foo", CLAWKAKA_NONSENSE="1")

    assert done.returncode == 1
    assert re.search(r"^settings +no +CLAWKAKA_NONSENSE: there is no such setting", done.stdout, re.MULTILINE)
    assert "DOCKER_HOST: must begin with unix:// or http://" in done.stdout
    assert re.search(r"^engine +look +not checked: settings first", done.stdout, re.MULTILINE)
    assert re.search(r"^sandbox image +look +not checked: the engine first", done.stdout, re.MULTILINE)
    assert re.search(rf"^state directory +ok +\S*{DIRECTORY}", done.stdout, re.MULTILINE)  # as ever


def test_the_simulator_alone_needs_the_daemons_secrets(directory: Path) -> None:
    directory.mkdir()
    done = clawkakad("simulator", cwd=directory, WHATSAPP_APP_SECRET="x", WHATSAPP_ACCESS_TOKEN="")

    assert done.returncode == 2
    assert "WHATSAPP_ACCESS_TOKEN" in done.stderr
    assert "WHATSAPP_APP_SECRET" not in done.stderr


def test_a_daemon_that_will_not_start_is_one_line(directory: Path) -> None:
    directory.mkdir()
    done = clawkakad("try", "hi", "--state", str(directory), cwd=directory, CLAWKAKA_SANDBOX_CPUS="many")

    assert done.returncode == 2
    assert done.stdout == ""
    assert "clawkakad: CLAWKAKA_SANDBOX_CPUS" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_an_engine_it_says_so_at_once(directory: Path) -> None:
    directory.mkdir()
    address = f"unix://{directory}/nonexistent"
    done = clawkakad("try", "hi", "--state", str(directory), cwd=directory, DOCKER_HOST=address)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"clawkakad: no Docker engine answers at {address}: start Docker")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("container_id", [None, "abc"])
async def test_what_stays_is_said_where_something_does(
    directory: Path, container_id: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened_trial(directory, fresh=False) as trial:
        async with open_registry(directory / FILE, clock) as registry:
            known = [(IdentifierKind.WA_ID, "919876543210")]
            user_id = await registry.db.write(lambda tx: ensure_user(tx, known, NOWHERE, clock()))
            row = await registry.sandboxes.ensure(user_id)
            await registry.sandboxes.set_container(
                row.id, container_id=container_id, image_id="sha256:1", config_hash="1"
            )
        await _say_what_stays(trial)

    assert ("The sandbox stays awake" in capsys.readouterr().err) is (container_id is not None)


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_the_whole_path_twice_and_then_from_the_start(directory: Path) -> None:
    directory.mkdir()
    words = ("--state", str(directory / "state"), "--no-browser")
    try:
        first = clawkakad("try", "Uber to office 280", "how much today?", *words, cwd=directory)
        assert first.returncode == 0, first.stderr
        logged, *_ = first.stdout.splitlines()
        assert logged == "280 INR, Transport: Uber to office. Logged."
        assert "Expenses today: 280 INR (Transport 280)" in first.stdout

        again = clawkakad("try", "how much today?", *words, cwd=directory)
        assert again.stdout == "Expenses today: 280 INR (Transport 280)\n", again.stderr

        fresh = clawkakad("try", "how much today?", "--fresh", *words, cwd=directory)
        assert fresh.stdout.startswith("Nothing logged today yet."), fresh.stderr
    finally:
        state = str(directory / "state")
        gone = clawkakad("nuke", "--state", state, "--runtime", f"{state}/run", "--yes", cwd=directory)
    assert gone.returncode == 0, gone.stderr
    assert not (directory / "state").exists()
