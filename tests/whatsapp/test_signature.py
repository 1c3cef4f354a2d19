"""Signatures: the vectors, and that nothing but the right one passes."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from clawkakad.errors import BadSignature
from clawkakad.whatsapp.signature import sign, verify
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
    verify(body, f"sha256={digest}", [SECRET])


@pytest.mark.parametrize("secrets", [["new", "old"], ["old", "new"]])
def test_during_a_rotation_either_secret_will_do(secrets: list[str]) -> None:
    verify(b"body", sign(b"body", "old"), secrets)
    verify(b"body", sign(b"body", "new"), secrets)


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
        verify(b"body", header, [SECRET])


@pytest.mark.parametrize("secrets", [[], [""]])
def test_no_secret_lets_nobody_in(secrets: list[str]) -> None:
    with pytest.raises(BadSignature):
        verify(b"body", sign(b"body", ""), secrets)


@given(body=st.binary(max_size=200), place=st.integers(0, 70), character=st.characters(max_codepoint=0x2FF))
def test_no_changed_character_of_a_signature_passes(body: bytes, place: int, character: str) -> None:
    good = sign(body, SECRET)
    changed = good[:place] + character + good[place + 1 :]
    assume(changed != good)

    with pytest.raises(BadSignature):
        verify(body, changed, [SECRET])


@given(body=st.binary(min_size=1, max_size=200), place=st.integers(0, 199), bit=st.integers(0, 7))
def test_no_changed_bit_of_a_body_passes(body: bytes, place: int, bit: int) -> None:
    changed = bytearray(body)
    changed[place % len(body)] ^= 1 << bit

    with pytest.raises(BadSignature):
        verify(bytes(changed), sign(body, SECRET), [SECRET])
