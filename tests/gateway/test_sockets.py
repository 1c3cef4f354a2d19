"""The safe opening, against the tricks that a sandbox could play with its directory."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clawkakad.errors import GatewayUnavailable, SandboxTampered
from clawkakad.gateway.sockets import held_socket
from tests.support import short_directory

ME = frozenset({os.getuid()})


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as path:
        yield path


@contextmanager
def listener(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        yield listening


def reached(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        return client.getpeername() is not None


def test_the_sockets_own_path_leads_to_it(directory: Path) -> None:
    with listener(directory / "gateway.sock"), held_socket(directory / "gateway.sock", ME) as path:
        assert reached(path)


def test_a_path_longer_than_an_address_does_not_matter(directory: Path) -> None:
    deep = directory / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    with listener(directory / "s"):
        (directory / "s").rename(deep / "gateway.sock")
        with held_socket(deep / "gateway.sock", ME) as path:
            assert reached(path)


def test_a_symlink_to_another_listening_socket_is_refused(directory: Path) -> None:
    with listener(directory / "engine.sock"):
        (directory / "gateway.sock").symlink_to(directory / "engine.sock")

        with pytest.raises(SandboxTampered, match="symlink"), held_socket(directory / "gateway.sock", ME):
            pass


def test_a_dangling_symlink_is_refused(directory: Path) -> None:
    (directory / "gateway.sock").symlink_to(directory / "nothing")

    with pytest.raises(SandboxTampered, match="symlink"), held_socket(directory / "gateway.sock", ME):
        pass


def test_a_swap_after_the_check_changes_nothing(directory: Path) -> None:
    with listener(directory / "gateway.sock") as honest, listener(directory / "engine.sock") as engine:
        engine.setblocking(False)
        with held_socket(directory / "gateway.sock", ME) as path:
            (directory / "gateway.sock").unlink()
            (directory / "gateway.sock").symlink_to(directory / "engine.sock")
            assert reached(path)
        honest.accept()[0].close()
        with pytest.raises(BlockingIOError):
            engine.accept()


@pytest.mark.parametrize(
    ("kind", "word"), [("file", "a file"), ("directory", "a directory"), ("fifo", "something else")]
)
def test_what_is_no_socket_is_refused(directory: Path, kind: str, word: str) -> None:
    path = directory / "gateway.sock"
    {"file": path.touch, "directory": path.mkdir, "fifo": lambda: os.mkfifo(path)}[kind]()

    with pytest.raises(SandboxTampered, match=word), held_socket(path, ME):
        pass


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a socket away")
def test_a_socket_of_a_foreign_owner_is_refused(directory: Path) -> None:
    with listener(directory / "gateway.sock"):
        os.chown(directory / "gateway.sock", 12345, -1)

        with pytest.raises(SandboxTampered, match="12345"), held_socket(directory / "gateway.sock", ME):
            pass


def test_a_socket_of_nobody_allowed_is_refused(directory: Path) -> None:
    with (
        listener(directory / "gateway.sock"),
        pytest.raises(SandboxTampered),
        held_socket(directory / "gateway.sock", frozenset({os.getuid() + 1})),
    ):
        pass


def test_a_missing_socket_is_not_ready_yet(directory: Path) -> None:
    with pytest.raises(GatewayUnavailable), held_socket(directory / "gateway.sock", ME):
        pass


def test_a_file_where_its_directory_should_be_is_refused(directory: Path) -> None:
    (directory / "gateway").touch()

    with pytest.raises(SandboxTampered), held_socket(directory / "gateway" / "gateway.sock", ME):
        pass


def test_no_descriptor_is_left_behind(directory: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    (directory / "file").touch()
    with listener(directory / "gateway.sock"):
        for _ in range(5):
            with held_socket(directory / "gateway.sock", ME):
                pass
            with pytest.raises(SandboxTampered), held_socket(directory / "file", ME):
                pass

    assert set(os.listdir("/proc/self/fd")) == before
