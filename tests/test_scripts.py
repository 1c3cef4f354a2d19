"""What the scripts are made of, without making anything: in directories with spaces, with stand-ins on PATH."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from clawkakad.cli.commands import commands

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "scripts").iterdir())
PATH = "/usr/local/bin:/usr/bin:/bin"


def program(path: Path, *lines: str) -> Path:
    """A shell script that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(0o755)
    return path


def run(*command: str | Path, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=30,
        check=False,
        env={"PATH": PATH, **environ},
    )


def sourced(checkout: Path, *lines: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Some lines of bash, as a script of this checkout would run them."""
    text = "\n".join(("set -euo pipefail", '. "$1"/scripts/setup.sh', *lines))
    return run("bash", "-c", text, "a-script", checkout, **environ)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The scripts, where no path should be."""
    place = tmp_path / "it's a $HOME `id` here"
    shutil.copytree(ROOT / "scripts", place / "scripts")
    return place


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_can_be_read_by_bash(script: Path) -> None:
    assert run("bash", "-n", script).stderr == ""


@pytest.mark.parametrize("word", ["-h", "--help"])
@pytest.mark.parametrize("name", [path.name for path in SCRIPTS if path.name != "setup.sh"])
def test_a_script_helps_without_making_anything(checkout: Path, name: str, word: str) -> None:
    before = set(checkout.rglob("*"))
    script = checkout / "scripts" / name

    done = run(f"scripts/{name}", "first", word, cwd=checkout)

    assert (done.returncode, done.stderr) == (0, "")
    first, *_ = done.stdout.splitlines()
    assert f"# {first}\n" in script.read_text()
    assert "set -" not in done.stdout
    assert set(checkout.rglob("*")) == before


def test_a_script_helps_through_a_link(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "try-it").symlink_to(checkout / "scripts" / "try")

    done = run("./try-it", "--help", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Try the whole thing on this machine")


def test_a_message_may_be_the_word_for_help(checkout: Path) -> None:
    done = sourced(checkout, "answer_help hi -- --help", "echo went on")

    assert done.stdout == "went on\n"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--frsh"], "no such option: --frsh;"),
        (["hi", "-5 refund"], "no such option: -5 refund;"),
        ([""], "an empty message"),
        (["hi", " \t"], "an empty message"),
        (["--", "-5", ""], "an empty message"),
        (["--port"], "--port needs a value"),
        (["--port", "many"], "from 1 to 65535, not 'many'"),
        (["--port=0"], "from 1 to 65535, not '0'"),
        (["--port", "65536"], "from 1 to 65535, not '65536'"),
        (["--state", ""], "--state needs a value"),
        (["--person="], "--person needs a value"),
    ],
)
def test_a_trial_that_cannot_be_is_refused_before_anything_is_made(checkout: Path, words: list[str], why: str) -> None:
    before = set(checkout.rglob("*"))

    done = run("scripts/try", *words, cwd=checkout)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("try: ")
    assert why in done.stderr
    assert done.stderr.count("\n") == 1
    assert set(checkout.rglob("*")) == before


def test_a_trial_takes_every_option_that_the_command_has(checkout: Path) -> None:
    (checkout / "scripts" / "setup.sh").write_text(
        "for f in answer_help ensure_{venv,engine,image}; do eval $f'() { :; }'; done"
    )
    program(checkout / ".venv" / "bin" / "clawkakad", 'printf "%s\\n" "$@"')
    group = get_command(commands(80))
    assert isinstance(group, TyperGroup)
    options = [one for one in group.commands["try"].params if one.param_type_name == "option"]
    assert "--state" in [name for one in options for name in one.opts]
    words = [
        word
        for one in options
        for name in (*one.opts, *one.secondary_opts)
        for word in ([name] if getattr(one, "is_flag", False) else [name, "3002", f"{name}=3002"])
    ]
    words = [*words, "hello", "-", "--", "--frsh", "-5 refund"]

    done = run("scripts/try", *words, cwd=checkout)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["try", *words]


def test_the_launcher_works_wherever_the_checkout_is(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    program(checkout / ".venv" / "bin" / "python", f'PYTHONPATH="{ROOT}" exec "{sys.executable}" "$@"')

    assert sourced(checkout, "setup_write_launcher").returncode == 0
    done = run(checkout / ".venv" / "bin" / "clawkakad", "--version")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("clawkakad ")


def test_the_launcher_imports_nothing_from_where_it_is_called(checkout: Path, tmp_path: Path) -> None:
    program(checkout / ".venv" / "bin" / "python", f'PYTHONPATH="{ROOT}" exec "{sys.executable}" "$@"')
    sourced(checkout, "setup_write_launcher")
    (tmp_path / "clawkakad").mkdir()
    (tmp_path / "clawkakad" / "__init__.py").write_text("raise SystemExit('of somebody else')")

    done = run(checkout / ".venv" / "bin" / "clawkakad", "--version", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")


class TestVirtualEnvironment:
    """`ensure_venv run`, with a stand-in for the Python in .venv that notes what is installed."""

    @pytest.fixture
    def place(self, checkout: Path) -> Path:
        (checkout / "clawkakad").mkdir()
        (checkout / "clawkakad" / "__init__.py").touch()
        (checkout / "requirements").mkdir()
        for kind in ("run", "dev"):
            (checkout / "requirements" / f"{kind}.txt").write_text("# first\n")
        site, noted = checkout / ".venv" / "site", checkout / "noted"
        site.mkdir(parents=True)
        program(
            checkout / ".venv" / "bin" / "python",
            f"here={shlex.quote(str(checkout))}",
            'case "$*" in *purelib*) echo "$here/.venv/site" ;;',
            f'  *"pip install"*) echo "${{*##*/}}" >> {shlex.quote(str(noted))}; [ ! -e "$here/no-network" ] ;;',
            '  "-P -c import clawkakad") [ -e "$here/.venv/site/clawkakad.pth" ] ;;',
            "esac",
        )
        return checkout

    @staticmethod
    def installed(place: Path, kind: str = "run") -> list[str]:
        """What is installed from now on until that kind is there."""
        (place / "noted").unlink(missing_ok=True)
        sourced(place, f"ensure_venv {kind}")
        return (place / "noted").read_text().split() if (place / "noted").exists() else []

    def test_it_is_made_once(self, place: Path) -> None:
        assert self.installed(place) == ["run.txt"]
        assert self.installed(place) == []

    def test_what_an_interrupted_installation_left_is_not_taken_for_the_older_one(self, place: Path) -> None:
        assert self.installed(place) == ["run.txt"]
        (place / "requirements" / "run.txt").write_text("# second\n")
        (place / "no-network").touch()
        assert self.installed(place) == ["run.txt"]

        (place / "requirements" / "run.txt").write_text("# first\n")  # the operator goes back
        (place / "no-network").unlink()

        assert self.installed(place) == ["run.txt"]

    def test_the_packages_of_the_tests_are_no_older_ones_of_the_daemon(self, place: Path) -> None:
        assert self.installed(place, "dev") == ["dev.txt"]
        assert self.installed(place, "run") == []  # they are among those of the tests
        for kind in ("run", "dev"):
            (place / "requirements" / f"{kind}.txt").write_text("# second\n")
        assert self.installed(place, "run") == ["run.txt"]

        for kind in ("run", "dev"):
            (place / "requirements" / f"{kind}.txt").write_text("# first\n")

        assert self.installed(place, "dev") == ["dev.txt"]

    def test_it_is_made_anew_for_a_python_that_was_upgraded(self, place: Path) -> None:
        shutil.rmtree(place / ".venv")
        imported = '"$SETUP_VENV/bin/python" -P -c "import clawkakad"'
        done = sourced(place, "ensure_venv run", imported)
        assert done.returncode == 0, done.stderr
        (site,) = (place / ".venv" / "lib").iterdir()
        site.rename(site.with_name("python3.2"))  # the same link leads to a newer one, which looks elsewhere

        done = sourced(place, "ensure_venv run", imported)

        assert done.returncode == 0, done.stderr


def test_an_image_is_built_from_a_checkout_that_was_moved(checkout: Path, tmp_path: Path) -> None:
    (checkout / "requirements").mkdir()
    (checkout / "requirements" / "run.txt").touch()
    (checkout / ".venv" / "site").mkdir(parents=True)
    purelib = shlex.quote(str(checkout / ".venv" / "site"))
    program(
        checkout / ".venv" / "bin" / "python", f'case "$*" in *purelib*) echo {purelib} ;; *build*) echo "$*" ;; esac'
    )
    program(checkout / ".venv" / "bin" / "clawkakad", "exec '/where/it/was/.venv/bin/python' -P -m clawkakad \"$@\"")
    docker = program(tmp_path / "programs" / "docker", "exit 0")

    done = run("scripts/image", "--force", cwd=checkout, PATH=f"{docker.parent}:{PATH}")

    assert (done.returncode, done.stdout) == (0, "-P -m clawkakad image build --force\n"), done.stderr


def test_a_docker_that_works_is_found_behind_one_that_does_not(checkout: Path, tmp_path: Path) -> None:
    broken = program(tmp_path / "first one" / "docker", "exit 1")
    working = program(tmp_path / "second one" / "docker", "exit 0")

    path = f"{broken.parent}:{working.parent}:{PATH}"
    done = sourced(checkout, "setup_pick_docker", "command -v docker", PATH=path)

    assert done.stdout == f"{working}\n", done.stderr


def test_who_may_not_use_the_engine_is_told_how(checkout: Path, tmp_path: Path) -> None:
    where = tmp_path / "programs"
    program(where / "id", "case $1 in -u) echo 1000 ;; *) echo robin ;; esac")
    program(where / "docker", "echo 'permission denied while trying to connect to the Docker daemon' >&2", "exit 1")
    for name in ("bash", "basename", "dirname"):
        (where / name).symlink_to(f"/usr/bin/{name}")

    done = sourced(checkout, "ensure_engine", PATH=str(where))

    assert done.returncode == 1
    assert "sudo usermod -aG docker robin" in done.stderr


class TestNuke:
    """scripts/nuke, beside a service that is installed below a directory of the test."""

    @pytest.fixture
    def place(self, checkout: Path, tmp_path: Path) -> Path:
        script = checkout / "scripts" / "nuke"
        script.write_text(script.read_text().replace("/usr/local/bin", str(tmp_path / "installed")))
        with (checkout / "scripts" / "setup.sh").open("a") as setup:
            setup.write("ensure_venv() { :; }\n")
        program(checkout / ".venv" / "bin" / "clawkakad", 'echo "trial: $*"')
        program(tmp_path / "installed" / "clawkakad", 'echo "service: $*"')
        (checkout / ".clawkaka").mkdir()
        return checkout

    def test_a_trial_goes_before_the_service(self, place: Path) -> None:
        (place / ".clawkaka" / "trial.json").touch()

        done = run("scripts/nuke", "--yes", cwd=place)

        assert (done.stdout, done.stderr) == ("trial: nuke --images --state .clawkaka --yes\n", "")

    def test_backups_of_a_trial_that_is_gone_do_not_hide_the_service(self, place: Path) -> None:
        (place / ".clawkaka" / "backups").mkdir()

        assert run("scripts/nuke", "--yes", cwd=place).stdout == "service: nuke --images --yes\n"

    def test_it_is_said_how_the_service_itself_goes(self, place: Path) -> None:
        (place / ".clawkaka").rmdir()

        done = run("scripts/nuke", "--yes", cwd=place)

        installer = (ROOT / "scripts" / "install").read_text()
        for made in ("/etc/clawkakad", "/etc/systemd/system/clawkakad", "/usr/lib/sysusers.d/clawkakad.conf"):
            assert made in done.stderr
            assert made.rpartition("/")[0] in installer
        assert "userdel clawkakad" in done.stderr


class TestInstalledCommand:
    """systemd/clawkakad.sh, installed below a directory of the test."""

    SETTINGS = """\
# Who is let in
CLAWKAKA_ALLOW=+49 151 2345678, +49 160 1234567
MODEL="a model"
  INDENTED=yes
QUOTED="a blank after" \t
SPACED = 'around the sign'
CARRIED="from Windows"\r
ONLY=  \t
#COMMENT=x
  ;COMMENT=x
1ST=x
MODEL_BASE_URL=$(touch made-by-a-setting)`id`
not a setting
BAD-NAME=x
PORT=3001
WHATSAPP_SENDER_PHONE_NUMBER_ID="""

    @pytest.fixture
    def command(self, tmp_path: Path) -> Path:
        text = (ROOT / "systemd" / "clawkakad.sh").read_text()
        for place in ("/etc/clawkakad", "/opt/clawkakad"):
            assert place in text
            text = text.replace(place, f"{tmp_path}{place}")
        program(
            tmp_path / "opt" / "clawkakad" / ".venv" / "bin" / "clawkakad", "env -0", 'printf "%s\\0" "argument=$*"'
        )
        (tmp_path / "etc" / "clawkakad" / "secrets").mkdir(parents=True)
        (tmp_path / "etc" / "clawkakad" / "clawkakad.env").write_text(self.SETTINGS)
        installed = tmp_path / "clawkakad"
        installed.write_text(text)
        installed.chmod(0o755)
        return installed

    @staticmethod
    def seen(command: Path, *words: str, **environ: str) -> Mapping[str, str]:
        done = run(command, *words, cwd=command.parent, **environ)
        assert (done.returncode, done.stderr) == (0, "")
        return dict(line.split("=", 1) for line in done.stdout.split("\0") if line)

    def test_it_has_the_services_settings_and_runs_none_of_them(self, command: Path) -> None:
        seen = self.seen(command, "sandbox", "rm", "Bob Smith")

        assert seen["CLAWKAKA_ALLOW"] == "+49 151 2345678, +49 160 1234567"
        assert seen["MODEL"] == "a model"
        assert seen["INDENTED"] == "yes"
        assert seen["QUOTED"] == "a blank after"
        assert seen["SPACED"] == "around the sign"
        assert seen["CARRIED"] == "from Windows"
        assert seen["ONLY"] == ""
        assert not {"COMMENT", "1ST", "BAD-NAME"} & set(seen)
        assert seen["MODEL_BASE_URL"] == "$(touch made-by-a-setting)`id`"
        assert seen["WHATSAPP_SENDER_PHONE_NUMBER_ID"] == ""
        assert seen["CREDENTIALS_DIRECTORY"] == f"{command.parent}/etc/clawkakad/secrets"
        assert seen["argument"] == "sandbox rm Bob Smith"
        assert not (command.parent / "made-by-a-setting").exists()

    def test_what_the_caller_sets_counts_more(self, command: Path) -> None:
        seen = self.seen(command, PORT="4000", MODEL="", CREDENTIALS_DIRECTORY="/elsewhere")

        assert (seen["PORT"], seen["MODEL"], seen["CREDENTIALS_DIRECTORY"]) == ("4000", "", "/elsewhere")

    def test_without_a_service_it_is_the_bare_command(self, command: Path) -> None:
        shutil.rmtree(command.parent / "etc")

        assert "CREDENTIALS_DIRECTORY" not in self.seen(command)


class TestInstall:
    """scripts/install, into a directory of the test, with stand-ins for what would change the machine."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """The directory: `checkout`, and what is the machine's."""
        checkout, root = tmp_path / "checkout", tmp_path / "root"
        for name in ("scripts", "systemd"):
            shutil.copytree(ROOT / name, checkout / name)
        script = checkout / "scripts" / "install"
        script.write_text(re.sub("(?<=[ =])/(?=(etc|run|tmp|usr|var/tmp)/)", f"{root}/", script.read_text()))
        for directory in ("etc/systemd/system", "run/systemd/system", "usr/lib/sysusers.d", "usr/local/bin"):
            (root / directory).mkdir(parents=True)
        with (checkout / "scripts" / "setup.sh").open("a") as setup:
            setup.write("ensure_engine() { :; }; ensure_image() { :; }\n")
            setup.write("ensure_venv() { mkdir -p .venv/bin; install -m 755 /dev/null .venv/bin/clawkakad; }\n")
        program(tmp_path / "programs" / "id", "echo 0")
        for name in ("systemd-sysusers", "systemctl", "setpriv"):
            program(tmp_path / "programs" / name)
        return tmp_path

    @staticmethod
    def install(place: Path, umask: str = "022") -> subprocess.CompletedProcess[str]:
        script, path = place / "checkout" / "scripts" / "install", f"{place / 'programs'}:{PATH}"
        return run("sh", "-c", f'umask {umask}; exec "$1"', "sh", script, PATH=path)

    @pytest.mark.parametrize("umask", ["002", "022", "077"])
    def test_the_service_can_read_what_it_is_made_of_and_nobody_its_secrets(self, place: Path, umask: str) -> None:
        done = self.install(place, umask)

        assert done.returncode == 0, done.stderr
        made = [place / "checkout" / ".venv", *(place / "checkout" / ".venv").rglob("*")]
        made += [path for path in (place / "root").rglob("*") if path.is_file() and path.parent.name != "secrets"]
        assert {path.name: path.stat().st_mode & 0o4 for path in made} == {path.name: 0o4 for path in made}
        secrets = place / "root" / "etc" / "clawkakad" / "secrets"
        assert [path.stat().st_mode & 0o77 for path in (secrets, *secrets.iterdir())] == 7 * [0]

    def test_a_second_time_keeps_what_was_filled_in(self, place: Path) -> None:
        self.install(place)
        filled_in = place / "root" / "etc" / "clawkakad" / "clawkakad.env"
        filled_in.write_text("CLAWKAKA_ALLOW=+49 151 23456789\n")

        assert self.install(place).returncode == 0
        assert filled_in.read_text() == "CLAWKAKA_ALLOW=+49 151 23456789\n"

    @pytest.mark.parametrize("below", ["tmp", "var/tmp"])
    def test_a_checkout_that_the_service_cannot_see_is_refused_before_anything_is_made(
        self, place: Path, below: str
    ) -> None:
        checkout = place / "root" / below / "clawkakad"
        checkout.parent.mkdir(parents=True)
        (place / "checkout").rename(checkout)
        (place / "checkout").symlink_to(checkout)  # a way around it that leads there all the same
        before = set(place.rglob("*"))

        done = self.install(place)

        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"install: clone it to /opt/clawkakad instead: the service cannot see {checkout}\n"
        assert set(place.rglob("*")) == before

    def test_a_checkout_that_its_account_cannot_read_is_refused(self, place: Path) -> None:
        program(place / "programs" / "setpriv", "exit 127")

        done = self.install(place)

        assert done.returncode == 2
        assert f"the account clawkakad cannot run {place}/checkout/.venv/bin/clawkakad" in done.stderr
        assert not list((place / "root" / "etc" / "systemd" / "system").iterdir())


@pytest.mark.parametrize("unit", ["clawkakad.service", "clawkakad-backup.service"])
def test_the_documentation_of_a_unit_is_in_the_checkout(unit: str) -> None:
    found = re.findall(
        r"^Documentation=file:///opt/clawkakad/(.+)$", (ROOT / "systemd" / unit).read_text(), re.MULTILINE
    )

    assert len(found) == 1
    assert (ROOT / found[0]).is_file()


@pytest.mark.skipif(shutil.which("caddy") is None, reason="caddy is not installed")
def test_the_caddyfile_is_valid(tmp_path: Path) -> None:
    config = ROOT / "systemd" / "Caddyfile"

    done = run("caddy", "validate", "--adapter", "caddyfile", "--config", config, HOME=str(tmp_path))

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("parts", "status"), [("000", 0), ("100", 1), ("010", 1), ("001", 1), ("500", 5)])
def test_the_status_of_all_tests_is_that_of_all_parts(checkout: Path, parts: str, status: int) -> None:
    nothing = "answer_help() { :; }; ensure_packages() { :; }; ensure_venv() { :; }; ensure_engine() { :; }"
    (checkout / "scripts" / "setup.sh").write_text(f"{nothing}\nensure_image() {{ :; }}\n")
    said = zip(("*--ignore=*) echo rest", "*scenarios*) echo clocks", "*e2e*) echo containers"), parts, strict=True)
    cases = " ".join(f"{what}; exit {code};;" for what, code in said)
    program(checkout / ".venv" / "bin" / "python", f'case "$*" in {cases} esac')

    done = run("scripts/test", cwd=checkout)

    assert (done.returncode, done.stderr) == (status, "")
    assert done.stdout == "rest\n==> The tests with clocks\nclocks\n==> The tests with containers\ncontainers\n"


def test_what_was_installed_without_apt_get_is_not_asked_for_again(checkout: Path, tmp_path: Path) -> None:
    with (checkout / "scripts" / "setup.sh").open("a") as setup:
        setup.write("ensure_venv() { :; }; ensure_engine() { :; }; ensure_image() { :; }\n")
    program(checkout / ".venv" / "bin" / "python", 'echo "$*"')
    programs = tmp_path / "programs"
    for name in ("chromium-browser", "sqlite3", "ip"):
        program(programs / name)
    for name in ("bash", "env", "basename", "dirname", "readlink"):
        (programs / name).symlink_to(f"/usr/bin/{name}")

    done = run("scripts/test", "-k", "reminder", cwd=checkout, PATH=str(programs))

    assert (done.returncode, done.stdout) == (0, "-m pytest -k reminder\n"), done.stderr
