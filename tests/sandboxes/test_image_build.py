"""Building the image, with a docker command of our own on the path: what is asked of it, and what is told of it."""

import asyncio
import tarfile
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clawkakad.cli.image import HOST_BUNDLE, app
from clawkakad.errors import EngineUnavailable, ImageBuildFailed, UsageError
from clawkakad.sandboxes import commands, image_base, image_build
from clawkakad.sandboxes.image import Step

DOCKER = """\
#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/calls"
case "$1 $2" in
"info --format") [ -e "$here/down" ] && { echo "cannot connect" >&2; exit 1; }; echo /nowhere/docker ;;
"image inspect") [ -e "$here/down" ] && { echo "cannot connect" >&2; exit 1; }
    case "$*" in
    *debian:bookworm-slim) [ -e "$here/base" ] && echo sha256:1 ;;
    *clawkaka-base:bookworm) exit 1 ;;
    *) [ -e "$here/label" ] && cat "$here/label" ;;
    esac ;;
"pull --quiet") [ -e "$here/pullable" ] || { echo "no such host" >&2; exit 1; } ;;
"build --network")
    cat > "$here/context.tar"
    [ -e "$here/broken" ] && { echo "Step 1/2 : RUN false"; seq 30; exit 1; }
    echo "Step 1/2 : FROM scratch"; echo " ---> 0123456789ab"; echo "Step 2/2 : RUN npm ci"
    for word in "$@"; do case $word in clawkaka.source=*) echo "${word#*=} 1500000" > "$here/label" ;; esac; done ;;
"images --quiet") echo 0123456789ab; echo ba9876543210 ;;
"rmi "*) ;;
*) exit 64 ;;
esac
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a docker command; files in it say how it behaves."""
    directory = tmp_path / "bin"
    directory.mkdir()
    (directory / "docker").write_text(DOCKER)
    (directory / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    return directory


@pytest.fixture
def order(tmp_path: Path) -> image_build.Order:
    source = tmp_path / "sandbox"
    source.mkdir()
    (source / "Dockerfile").write_text("FROM scratch\n")
    return image_build.Order(source=source, tag="test:1")


class Notes:
    """Takes down what is reported."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.lines: list[str] = []

    def step(self, step: Step) -> None:
        self.steps.append(step)

    def line(self, line: str) -> None:
        self.lines.append(line)


def calls(docker: Path) -> list[str]:
    return (docker / "calls").read_text().splitlines()


async def test_builds_with_the_hosts_network_on_a_base_that_is_here(docker: Path, order: image_build.Order) -> None:
    (docker / "base").touch()
    notes = Notes()

    built = await image_build.build(order, notes)

    assert built == image_build.Built("test:1", 1_500_000)
    assert notes.steps == [Step(1, 2, "FROM scratch"), Step(2, 2, "Installing Node and OpenClaw")]
    build = next(call for call in calls(docker) if call.startswith("build "))
    assert "--network host" in build
    assert "BASE_IMAGE=debian:bookworm-slim" in build
    assert f"clawkaka.source={order.hash}" in build
    assert not any(call.startswith("pull") for call in calls(docker))


async def test_pulls_the_base_where_it_can(docker: Path, order: image_build.Order) -> None:
    (docker / "pullable").touch()

    await image_build.build(order, Notes())

    assert "pull --quiet debian:bookworm-slim" in calls(docker)


async def test_removes_what_earlier_builds_left_and_keeps_its_own_cache(docker: Path, order: image_build.Order) -> None:
    (docker / "base").touch()

    await image_build.build(order, Notes())

    assert {call for call in calls(docker) if call.startswith("rmi")} == {"rmi ba9876543210"}


async def test_an_image_of_the_same_source_is_up_to_date(docker: Path, order: image_build.Order) -> None:
    (docker / "label").write_text(f"{order.hash} 7\n")

    assert await image_build.existing(order) == image_build.Built("test:1", 7)


async def test_an_image_of_another_source_is_not(docker: Path, order: image_build.Order) -> None:
    (docker / "label").write_text("0000000000000000 7\n")

    assert await image_build.existing(order) is None


async def test_an_image_without_a_label_is_not(docker: Path, order: image_build.Order) -> None:
    (docker / "label").write_text(" 7\n")

    assert await image_build.existing(order) is None


async def test_an_engine_that_is_down_is_told_from_a_missing_image(docker: Path, order: image_build.Order) -> None:
    (docker / "down").touch()

    with pytest.raises(EngineUnavailable, match="cannot connect"):
        await image_build.existing(order)


async def test_a_failed_build_shows_its_last_lines(docker: Path, order: image_build.Order) -> None:
    (docker / "base").touch()
    (docker / "broken").touch()

    with pytest.raises(ImageBuildFailed, match="exit code 1") as caught:
        await image_build.build(order, Notes())

    assert caught.value.output == tuple(str(number) for number in range(11, 31))


async def test_too_little_space_is_said_before_anything_starts(
    docker: Path, order: image_build.Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (docker / "docker").write_text(DOCKER.replace("/nowhere/docker", str(tmp_path)))
    monkeypatch.setattr(image_build, "FREE_BYTES", 1 << 60)

    with pytest.raises(UsageError, match="free space"):
        await image_build.build(order, Notes())

    assert not any(call.startswith("build") for call in calls(docker))


def test_the_command_is_quick_and_brief_when_there_is_nothing_to_do(docker: Path, order: image_build.Order) -> None:
    (docker / "label").write_text(f"{order.hash} 495000000\n")

    outcome = CliRunner().invoke(app, ["build", "--source", str(order.source), "--tag", "test:1"])

    assert outcome.exit_code == 0
    assert outcome.stdout == "test:1 is up to date (495 MB)\n"


def test_the_command_says_each_step_in_a_line_and_what_it_made(docker: Path, order: image_build.Order) -> None:
    (docker / "base").touch()

    outcome = CliRunner().invoke(app, ["build", "--source", str(order.source), "--tag", "test:1"])

    assert outcome.exit_code == 0
    assert "image: step 2/2: Installing Node and OpenClaw\n" in outcome.stderr
    assert outcome.stdout.startswith("test:1 is built (2 MB, ")


def test_the_command_ends_with_one_clear_line_when_the_engine_is_down(docker: Path, order: image_build.Order) -> None:
    (docker / "down").touch()

    outcome = CliRunner().invoke(app, ["build", "--source", str(order.source)])

    assert outcome.exit_code == 1
    assert outcome.stderr == "clawkakad: the Docker engine does not answer: cannot connect\n"


async def test_a_base_cannot_be_made_where_apt_knows_no_debian_mirror(
    docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_base, "ETC", docker)

    with pytest.raises(UsageError, match="no Debian mirror"):
        await image_base.find_base(Notes(), fresh=False)


async def test_a_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    script = f"echo started; sleep 60; touch {tmp_path}/survived"

    started = time.monotonic()
    with pytest.raises(ImageBuildFailed, match="longer than") as caught:
        await commands.run(["sh", "-c", script], lambda line: None, within_s=0.5, what="it")

    assert time.monotonic() - started < 10
    assert caught.value.output == ("started",)


async def test_a_cancelled_command_is_ended() -> None:
    heard = asyncio.Event()

    running = asyncio.create_task(
        commands.run(["sh", "-c", "echo $$; exec sleep 60"], lambda line: heard.set(), within_s=60, what="it")
    )
    await asyncio.wait_for(heard.wait(), 10)
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 10)


async def test_a_command_that_reads_nothing_of_its_input_is_no_error() -> None:
    await commands.run(["true"], lambda line: None, within_s=10, what="it", stdin=b"x" * 1_000_000)


BROKEN = "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("way", ["option", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"])
@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file"), ("", "no certificate"), ("no certificate", "no certificate"), (BROKEN, "broken")],
)
def test_a_bundle_that_is_none_is_said_in_a_line_before_anything_is_done(
    docker: Path, tmp_path: Path, way: str, content: str | None, why: str
) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)
    words = ["--ca-bundle", str(bundle)] if way == "option" else []
    env = {"SSL_CERT_FILE": None, "NODE_EXTRA_CA_CERTS": None} | ({} if words else {way: str(bundle)})
    outcome = CliRunner().invoke(app, ["build", *words], env=env)

    assert isinstance(outcome.exception, UsageError)
    said = str(outcome.exception)
    assert said.startswith(f"{bundle} is of no use")
    assert why in said
    assert "\n" not in said
    assert not (docker / "calls").exists()


@pytest.mark.skipif(not HOST_BUNDLE.is_file(), reason="this host has no bundle")
def test_a_bundle_of_certificates_is_given_to_the_build(docker: Path, order: image_build.Order) -> None:
    (docker / "base").touch()
    words = ["--source", str(order.source), "--tag", "test:1", "--ca-bundle", str(HOST_BUNDLE)]

    assert CliRunner().invoke(app, ["build", *words]).exit_code == 0
    with tarfile.open(docker / "context.tar") as context:
        given = context.extractfile("extra-ca/bundle.crt")
        assert given is not None
        assert given.read() == HOST_BUNDLE.read_bytes()
