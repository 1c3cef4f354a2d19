"""Signatures: the vectors, and that nothing but the right one passes."""

import hmac
import json
import random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from clawkakad.errors import BadSignature
from clawkakad.whatsapp.signature import Verifier, sign
from tests.support import DATA

SECRET = "test-app-secret"
VECTORS = {
    "text_basic.json": (1076, "8791d3b4ba3d0dcc35f5482c5bd08b9252acc545cbe324b58ac749d88acc238d"),
    "text_wire_bytes_escaped_unicode_and_slashes.json": (
        627,
        "d51a5dce7aa0c974bef867ed7473381f4294dad6eb12144f698d0f26683e865b",
    ),
    "empty_entry_array.json": (59, "2d97062b94134c79a4e0b17bf044b2e9c57c813891bc20c1e39ac266eed94fb4"),
}


@pytest.mark.parametrize("name", VECTORS)
def test_the_vectors_hold_over_the_exact_bytes(name: str) -> None:
    body = (DATA / "payloads" / name).read_bytes()
    size, digest = VECTORS[name]

    assert len(body) == size
    assert sign(body, SECRET) == f"sha256={digest}"
    Verifier([SECRET]).verify(body, f"sha256={digest}")


@pytest.mark.parametrize("secrets", [["new", "old"], ["old", "new"]])
def test_during_a_rotation_either_secret_will_do(secrets: list[str]) -> None:
    Verifier(secrets).verify(b"body", sign(b"body", "old"))
    Verifier(secrets).verify(b"body", sign(b"body", "new"))


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "sha256=",
        sign(b"body", SECRET).removeprefix("sha256="),
        sign(b"body", SECRET).replace("sha256", "sha1"),
        sign(b"body", SECRET).upper(),
        sign(b"body", SECRET) + " ",
        sign(b"body", SECRET)[:-1],
        sign(b"body", "another secret"),
        sign(b"another body", SECRET),
        "sha256=\udce4\udcff",
    ],
)
def test_a_missing_or_wrong_header_is_refused(header: str | None) -> None:
    with pytest.raises(BadSignature):
        Verifier([SECRET]).verify(b"body", header)


@pytest.mark.parametrize("secrets", [[], [""]])
def test_no_secret_lets_nobody_in(secrets: list[str]) -> None:
    with pytest.raises(BadSignature):
        Verifier(secrets).verify(b"body", sign(b"body", ""))


@given(body=st.binary(max_size=200), place=st.integers(0, 70), character=st.characters(max_codepoint=0x2FF))
def test_no_changed_character_of_a_signature_passes(body: bytes, place: int, character: str) -> None:
    good = sign(body, SECRET)
    changed = good[:place] + character + good[place + 1 :]
    assume(changed != good)

    with pytest.raises(BadSignature):
        Verifier([SECRET]).verify(body, changed)


@given(body=st.binary(min_size=1, max_size=200), place=st.integers(0, 199), bit=st.integers(0, 7))
def test_no_changed_bit_of_a_body_passes(body: bytes, place: int, bit: int) -> None:
    changed = bytearray(body)
    changed[place % len(body)] ^= 1 << bit

    with pytest.raises(BadSignature):
        Verifier([SECRET]).verify(bytes(changed), sign(body, SECRET))


def test_no_forgery_of_ten_thousand_passes() -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # shown when it fails
    chance = random.Random(seed)
    bodies = [path.read_bytes() for path in sorted((DATA / "payloads").glob("*.json"))]
    signed = [(body, sign(body, SECRET)) for body in bodies]
    tried, accepted = 0, []
    while tried < 10_000:
        genuine = chance.choice(signed)
        forged = chance.choice(FORGERIES)(*genuine, chance)
        if forged == genuine:
            continue
        tried += 1
        if passes(*forged):
            accepted.append(forged)

    assert accepted == []


def passes(body: bytes, header: str | None) -> bool:
    try:
        Verifier([SECRET, "the secret before"]).verify(body, header)
    except BadSignature:
        return False
    return True


def flipped(body: bytes, header: str, chance: random.Random) -> tuple[bytes, str]:
    at = chance.randrange(len(body))
    return body[:at] + bytes([body[at] ^ 1 << chance.randrange(8)]) + body[at + 1 :], header


def cut(body: bytes, header: str, chance: random.Random) -> tuple[bytes, str]:
    return body[: chance.randrange(len(body))], header


def padded(body: bytes, header: str, chance: random.Random) -> tuple[bytes, str]:
    at, blank = chance.randrange(len(body) + 1), chance.choice([b" ", b"\n", b"\0", b"\xef\xbb\xbf"])
    return body[:at] + blank + body[at:], header


def written_again(body: bytes, header: str, chance: random.Random) -> tuple[bytes, str]:
    options: dict[str, Any] = {"ensure_ascii": chance.random() < 0.5, "indent": chance.choice([1, 3, 5])}
    return json.dumps(json.loads(body), **options).encode(), header


def header_changed(body: bytes, header: str, chance: random.Random) -> tuple[bytes, str]:
    at, other = chance.randrange(len(header)), chance.choice("0123456789abcdefABCDEF= \t\0é\udcff")
    end = at + chance.randrange(2)
    return body, header[:at] + other + header[end:]


def header_cut(body: bytes, header: str, chance: random.Random) -> tuple[bytes, str]:
    return body, header[: chance.randrange(len(header))]


def header_doubled(body: bytes, header: str, chance: random.Random) -> tuple[bytes, str]:
    return body, chance.choice(["", " ", ",", ", ", ";"]).join([header, header])


def header_in_capitals(body: bytes, header: str, chance: random.Random) -> tuple[bytes, str]:
    return body, chance.choice([header.upper(), "SHA256=" + header[7:], "sha256=" + header[7:].upper()])


def another_secret(body: bytes, header: str, chance: random.Random) -> tuple[bytes, str]:
    return body, sign(body, chance.choice(["", SECRET[:-1], SECRET.upper(), SECRET + "\n", "\0" + SECRET]))


def another_digest(body: bytes, header: str, chance: random.Random) -> tuple[bytes, str]:
    name = chance.choice(["md5", "sha1", "sha512", "sha3_256"])
    digest = hmac.new(SECRET.encode(), body, name).hexdigest()
    return body, f"{chance.choice([name, 'sha256'])}={digest}"


def another_signature(body: bytes, header: str, chance: random.Random) -> tuple[bytes, str]:
    return body, sign(body + b" ", SECRET)


FORGERIES = [
    flipped,
    cut,
    padded,
    written_again,
    header_changed,
    header_cut,
    header_doubled,
    header_in_capitals,
    another_secret,
    another_digest,
    another_signature,
]
