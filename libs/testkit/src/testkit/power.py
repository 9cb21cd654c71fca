"""What a broker loses with its power: the ends of topics, which it has acknowledged and its system not yet written."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_HEADER: Final = struct.Struct(">qiibIhiqq")
"""Of a batch in Kafka's second format: offset, length of what follows, leader epoch, magic, checksum, attributes, the
last record's place, first and latest time."""

_BEFORE_LENGTH_COUNTS: Final = 12


class Batch(NamedTuple):
    """One batch of a segment."""

    end: int
    """The byte behind it."""
    latest_ms: int
    """The latest time of its records, in Kafka's milliseconds."""


def batches(segment: Path) -> list[Batch]:
    """All whole ones of a segment, in order."""
    return list(_batches(segment.read_bytes()))


def cut_off(segment: Path, kept: int) -> None:
    """Keep the first batches of a segment, at most so many. Its broker must not run."""
    whole = batches(segment)[:kept]
    with segment.open("r+b") as file:
        file.truncate(whole[-1].end if whole else 0)


def _batches(content: bytes) -> Iterator[Batch]:
    place = 0
    while place + _HEADER.size <= len(content):
        _, length, *_, latest_ms = _HEADER.unpack_from(content, place)
        place += _BEFORE_LENGTH_COUNTS + length
        if place > len(content):
            return
        yield Batch(place, latest_ms)
