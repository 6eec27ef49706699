"""How payloads lie in a segment: frames that can be told from torn and damaged bytes.

A frame is a header of 20 bytes (mark, payload length, CRC-32, instant of appending in microseconds
since 1970, little-endian) followed by the payload. The CRC covers the length and the instant too, so
that a run of zeros is no frame. The mark lets a reader find the next frame behind damaged bytes.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

MARK = b"\xf1GS\x01"
HEADER = struct.Struct("<4sIIQ")
_CHECKED = struct.Struct("<IQ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the first 20 bytes of a frame promise about the rest."""

    payload_bytes: int
    crc: int
    appended_at_us: int

    @property
    def frame_bytes(self) -> int:
        """Size of the whole frame."""
        return HEADER.size + self.payload_bytes


def framed(payload: bytes, appended_at_us: int) -> bytes:
    """The frame of one payload."""
    return HEADER.pack(MARK, len(payload), _crc(payload, appended_at_us), appended_at_us) + payload


def header_of(data: bytes) -> Header | None:
    """The header that `data` begins with, or None. Says nothing yet about the payload."""
    if len(data) < HEADER.size:
        return None
    mark, payload_bytes, crc, appended_at_us = HEADER.unpack_from(data)
    if mark != MARK:
        return None
    return Header(payload_bytes=payload_bytes, crc=crc, appended_at_us=appended_at_us)


def is_intact(header: Header, payload: bytes) -> bool:
    """Whether `payload` is the one that `header` was written for."""
    return len(payload) == header.payload_bytes and _crc(payload, header.appended_at_us) == header.crc


def next_intact(data: bytes) -> int | None:
    """Offset of the first intact frame anywhere in `data`, or None."""
    offset = data.find(MARK)
    while offset >= 0:
        header = header_of(data[offset : offset + HEADER.size])
        if header is not None and is_intact(header, data[offset + HEADER.size : offset + header.frame_bytes]):
            return offset
        offset = data.find(MARK, offset + 1)
    return None


def _crc(payload: bytes, appended_at_us: int) -> int:
    return zlib.crc32(payload, zlib.crc32(_CHECKED.pack(len(payload), appended_at_us)))
