"""Batches that publishers compressed, unpacked within bounds.

A compressed batch of 33 kB may unpack to a gigabyte, and the broker takes it as it is. A worker that unpacked it would
run out of memory, be started anew, and meet it again. Here a batch that unpacks to too much becomes one record in the
place of all its records, which is nobody's event: it ends as a dead letter.
"""

import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Final

import cramjam
from aiokafka.record.util import calc_crc32c, encode_varint

UNPACKED_BYTES: Final = 32 * 1024 * 1024
"""Of one batch: a broker takes a megabyte, and JSON packs to a tenth or a twentieth of its size."""

FIRST_ROOM: Final = 16 * 1024
"""For a small batch; more is made where it is not enough."""

UNPACKABLE: Final = "accrual-unpackable"
"""The header of the record that stands for a batch: why it could not be unpacked. Its value is the batch as packed."""

FRAME: Final = struct.Struct(">qi")
"""How each batch begins: its first offset, and the length of what follows."""

HEADER: Final = struct.Struct(">qiibIhiqqqhii")
"""Before the records, by Kafka's protocol: first offset, length, leader's epoch, magic, checksum, attributes, last
offset's delta, two times, producer, its epoch, its sequence, count of records."""

_MAGIC: Final = 2
_CODEC_AT: Final = 22
_CODEC: Final = 0b111
"""The attributes' lower byte, and its bits that name the codec; 0 for none."""
_CHECKED_FROM: Final = 21
"""The checksum is over everything behind itself."""

_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER: Final = 16
"""Java's snappy: this magic, two versions, and blocks, each behind its length."""


_Into = Callable[[bytes, bytearray], int]
"""Unpacks into a buffer and says how much; fails where the buffer is too small."""


class Unpackable(Exception):
    """A batch that cannot be unpacked, or not within bounds."""


def unpacked(batch: bytes) -> bytes:
    """The same batch with its records not packed, or one record in the place of all.

    One that is not packed, or not as it was sent, comes back as it is: aiokafka refuses the latter.
    """
    if len(batch) < HEADER.size or not batch[_CODEC_AT] & _CODEC:
        return batch
    offset, _, leader, magic, checksum, attributes, last, *rest, count = HEADER.unpack_from(batch)
    codec = attributes & _CODEC
    if magic != _MAGIC or calc_crc32c(batch[_CHECKED_FROM:]) != checksum:
        return batch
    packed = batch[HEADER.size :]
    try:
        records = _CODECS[codec](packed)
    except (Unpackable, KeyError, ValueError, struct.error, zlib.error, cramjam.DecompressionError) as error:
        why = f"a batch of {count} records cannot be unpacked to {UNPACKED_BYTES} bytes at most: {error}"
        records, count = _record(last, packed, why), 1
    length = HEADER.size - FRAME.size + len(records)
    header = bytearray(HEADER.size)
    HEADER.pack_into(header, 0, offset, length, leader, magic, 0, attributes & ~_CODEC, last, *rest, count)
    checked = bytes(header[_CHECKED_FROM:]) + records
    struct.pack_into(">I", header, _CHECKED_FROM - 4, calc_crc32c(checked))
    return bytes(header[:_CHECKED_FROM]) + checked


def _record(delta: int, value: bytes, why: str) -> bytes:
    """One record at the batch's last offset: no key, and `why` in a header."""
    record = bytearray(b"\x00")  # its attributes

    def put(part: bytes) -> None:
        encode_varint(len(part), record.append)
        record.extend(part)

    encode_varint(0, record.append)  # its time, after the batch's
    encode_varint(delta, record.append)
    encode_varint(-1, record.append)  # the key's length
    put(value)
    encode_varint(1, record.append)
    put(UNPACKABLE.encode())
    put(why.encode())
    framed = bytearray()
    encode_varint(len(record), framed.append)
    return bytes(framed + record)


def _gzip(packed: bytes) -> bytes:
    unpacking = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    records = unpacking.decompress(packed, UNPACKED_BYTES)
    if not unpacking.eof or unpacking.unused_data:
        raise Unpackable("there is more")
    return records


def _lz4(packed: bytes) -> bytes:
    return _growing(cramjam.lz4.decompress_into, packed)


def _zstd(packed: bytes) -> bytes:
    return _growing(cramjam.zstd.decompress_into, packed)


def _growing(unpack: _Into, packed: bytes) -> bytes:
    """Room for as much as may be would have to be cleared for each batch, most of which are small."""
    room = min(max(FIRST_ROOM, 8 * len(packed)), UNPACKED_BYTES)
    while True:
        try:
            return _into(unpack, packed, room)
        except cramjam.DecompressionError:
            if room == UNPACKED_BYTES:
                raise
            room = min(4 * room, UNPACKED_BYTES)


def _into(unpack: _Into, packed: bytes, room: int) -> bytes:
    buffer = bytearray(room)
    return bytes(memoryview(buffer)[: unpack(packed, buffer)])


def _snappy(packed: bytes) -> bytes:
    if not packed.startswith(_XERIAL):
        return _snappy_block(packed, UNPACKED_BYTES)
    blocks: list[bytes] = []
    place, room = _XERIAL_HEADER, UNPACKED_BYTES
    while place < len(packed):
        (length,) = struct.unpack_from(">i", packed, place)
        if length < 0:
            raise Unpackable("a block of less than nothing")
        place += 4
        blocks.append(_snappy_block(packed[place : place + length], room))
        place += length
        room -= len(blocks[-1])
    return b"".join(blocks)


def _snappy_block(packed: bytes, room: int) -> bytes:
    """Snappy says beforehand how much comes out."""
    length = cramjam.snappy.decompress_raw_len(packed)
    if length > room:
        raise Unpackable(f"{length} bytes where {room} are left")
    return _into(cramjam.snappy.decompress_raw_into, packed, length)


_CODECS: Final[Mapping[int, Callable[[bytes], bytes]]] = {1: _gzip, 2: _snappy, 3: _lz4, 4: _zstd}
