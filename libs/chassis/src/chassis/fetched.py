"""What was fetched, as aiokafka reads it, whatever publishers put there.

aiokafka ends a fetch at what it cannot read, and the next one at the same place: one record, and a partition would
stand still for ever. So batches are unpacked here (`packed`), names of headers that are not text are made text, and
offsets that are not those of the batch are made so.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from aiokafka.consumer import fetcher
from aiokafka.record import MemoryRecords
from aiokafka.record.util import decode_varint

from chassis.packed import FRAME, HEADER, unpacked

FETCH_BYTES: Final = 16 * 1024 * 1024
"""Unpacked of one fetch of a partition, or one batch; what is behind them is fetched again."""

_NO_LETTER: Final = bytes(byte if byte < 0x80 else ord("?") for byte in range(256))


class Fetched:
    """The batches of one fetch of a partition, in the place of aiokafka's `MemoryRecords`."""

    def __init__(self, fetched: bytes) -> None:
        self._fetched = fetched
        self._place = 0
        self._end = _end_of_batch(fetched, 0)
        self._unpacked = 0

    def size_in_bytes(self) -> int:
        """Of all that was fetched: something where no whole batch is means that one is larger than a fetch."""
        return len(self._fetched)

    def has_next(self) -> bool:
        """Whether another whole batch is to be read; the broker cuts the last one off where the fetch is full."""
        return self._end is not None and self._unpacked < FETCH_BYTES

    def next_batch(self) -> "Batch | None":
        """The next one; None when there is none."""
        end = self._end
        if end is None:
            return None
        batch = unpacked(self._fetched[self._place : end])
        self._place, self._end = end, _end_of_batch(self._fetched, end)
        self._unpacked += len(batch)
        return Batch(batch)


def _end_of_batch(fetched: bytes, place: int) -> int | None:
    behind = place + FRAME.size
    if behind > len(fetched):
        return None
    end: int = behind + FRAME.unpack_from(fetched, place)[1]
    return end if end <= len(fetched) else None


class Record(NamedTuple):
    """One record, as aiokafka asks for it."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    checksum: int | None


class Batch:
    """One batch, not packed, with all that aiokafka asks of its own; and it can read all records of this one."""

    __slots__ = (
        "_batch", "_bytes", "base_offset", "is_control_batch", "is_transactional", "next_offset", "producer_id",
        "validate_crc",
    )  # fmt: skip

    def __init__(self, batch: bytes) -> None:
        self._bytes = batch
        self._batch = read = MemoryRecords(batch).next_batch()
        self.base_offset, self.next_offset = read.base_offset, read.next_offset
        self.producer_id, self.is_transactional = read.producer_id, read.is_transactional
        self.is_control_batch = read.is_control_batch
        self.validate_crc = read.validate_crc

    def __iter__(self) -> Iterator[Any]:
        try:
            records = list(self._batch)
        except UnicodeDecodeError:
            records = list(MemoryRecords(_with_text(self._bytes)).next_batch())
        return iter(_in_place(records, self.base_offset, self.next_offset))

    def __next__(self) -> Any:
        return next(self._batch)


def _in_place(records: list[Any], first: int, end: int) -> Sequence[Any]:
    """Records at offsets of their own within their batch, as they are: one behind the other, with gaps where a topic is
    compacted. Or else renumbered: the broker does not look at the offsets that a publisher wrote into a batch that is
    not packed, and behind one far ahead a reader would pass over all that comes."""
    offsets = [record.offset for record in records]
    if offsets == list(range(first, first + len(records))) and first + len(records) <= end:
        return records
    if all(one < other for one, other in pairwise([first - 1, *offsets, end])):
        return records
    return [
        Record(offset, record.timestamp, record.timestamp_type, record.key, record.value, record.headers, None)
        for offset, record in enumerate(records, first)
    ]


def bound_fetches() -> None:
    """From now on this process' consumers read what they fetch this way; aiokafka has no place for it."""
    fetcher.MemoryRecords = Fetched


def _with_text(batch: bytes) -> bytes:
    """The same records, with `?` for each byte that is no ASCII in a header's name that is no UTF-8."""
    buffer = bytearray(batch)
    place = HEADER.size
    while place < len(buffer):
        length, place = decode_varint(buffer, place)
        end = place + length
        _, place = decode_varint(buffer, place + 1)  # behind the attributes: its time
        _, place = decode_varint(buffer, place)  # its offset
        place = _behind(buffer, _behind(buffer, place))  # its key, its value
        headers, place = decode_varint(buffer, place)
        for _ in range(headers):
            size, begin = decode_varint(buffer, place)
            name = buffer[begin : begin + size]
            if not _is_text(name):
                buffer[begin : begin + size] = name.translate(_NO_LETTER)
            place = _behind(buffer, begin + size)
        place = end
    return bytes(buffer)


def _behind(buffer: bytearray, place: int) -> int:
    """Behind bytes that follow their length, which is -1 for none."""
    size, place = decode_varint(buffer, place)
    return int(place + max(size, 0))


def _is_text(name: bytearray) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
