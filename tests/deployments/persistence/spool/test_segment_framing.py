"""The bytes of a segment."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deployments.persistence.spool.segment import HEADER, framed, header_of, is_intact, next_intact


def test_frame_of_a_payload_has_known_bytes() -> None:
    """The format is fixed: other versions and tools read these files."""
    frame = framed(b"abc", 1_753_164_000_000_000)
    assert frame.hex() == "f147530103000000126f10e200f8734d7e3a0600616263"


def test_zeros_are_no_frame() -> None:
    """A hole that the file system left in a file is not taken for empty records."""
    assert header_of(bytes(64)) is None
    assert next_intact(bytes(64)) is None


@given(payload=st.binary(max_size=200), instant=st.integers(0, 2**63), bit=st.integers(0))
def test_any_flipped_bit_breaks_a_frame(payload: bytes, instant: int, bit: int) -> None:
    """Whatever single bit changes, the frame is no longer intact."""
    frame = bytearray(framed(payload, instant))
    bit %= len(frame) * 8
    frame[bit // 8] ^= 1 << bit % 8
    header = header_of(bytes(frame))
    assert header is None or not is_intact(header, bytes(frame[HEADER.size :][: header.payload_bytes]))


@given(junk=st.binary(max_size=60), payload=st.binary(max_size=60))
def test_frame_behind_junk_is_found(junk: bytes, payload: bytes) -> None:
    """A reader finds the next intact frame behind damaged bytes."""
    assert next_intact(junk + framed(payload, 1)) == len(junk)
