"""What was fetched: the same records whatever the codec, never more bytes than the bounds, and nothing unreadable."""

import struct
from collections.abc import Sequence
from typing import Any

import cramjam
import pytest
from aiokafka.codec import snappy_encode
from aiokafka.record import MemoryRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from chassis import fetched, packed
from chassis.fetched import Fetched
from chassis.packed import UNPACKABLE, unpacked

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
CODECS = [GZIP, SNAPPY, LZ4, ZSTD]

ROWS = [(b"corner/m-1", b'{"n": 1}', [("ce_type", b"a")]), (None, b"", []), (b"k", None, [("x", None), ("", b"\xff")])]
MANY = [(b"corner/m-1", b'{"n": %d, "pad": "%s"}' % (n, b"x" * 300), [("ce_type", b"a")]) for n in range(500)]
"""More than eight times what it packs to."""

BOMB = [(None, b"\0" * 2_000_000, [])]


def batch_of(
    rows: list[Any], codec: int, *, offset: int = 0, producer: int = -1, places: Sequence[int] = range(1_000)
) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=producer >= 0,
        producer_id=producer,
        producer_epoch=3 if producer >= 0 else -1,
        base_sequence=7 if producer >= 0 else -1,
        batch_size=1 << 30,
    )
    for place, (key, value, headers) in zip(places, rows, strict=False):
        assert builder.append(place, timestamp=1_000 + place, key=key, value=value, headers=headers) is not None
    built = bytearray(builder.build())
    struct.pack_into(">q", built, 0, offset)
    return bytes(built)


def records_of(fetched: Any) -> list[tuple[Any, ...]]:
    records = []
    while fetched.has_next():
        batch = fetched.next_batch()
        assert batch.validate_crc()
        records += [(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in batch]
    return records


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound that a test reaches quickly."""
    monkeypatch.setattr(packed, "UNPACKED_BYTES", 1_000_000)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("rows", [ROWS, MANY], ids=["odd", "many"])
def test_every_codec_gives_the_records_that_were_packed(codec: int, rows: list[Any]) -> None:
    plain = records_of(Fetched(batch_of(rows, NONE, offset=40)))
    assert [record[0] for record in plain] == [40 + place for place in range(len(rows))]
    assert records_of(Fetched(batch_of(rows, codec, offset=40))) == plain
    assert records_of(MemoryRecords(batch_of(rows, codec, offset=40))) == plain


def test_snappy_as_java_frames_it_and_as_others_do() -> None:
    whole = batch_of(MANY, NONE)
    for encode in (snappy_encode, lambda rows: bytes(cramjam.snappy.compress_raw(rows))):
        assert records_of(Fetched(_with_records(whole, encode(whole[61:]), SNAPPY))) == records_of(Fetched(whole))


def test_batches_follow_each_other_and_one_that_was_cut_off_is_left_for_the_next_fetch() -> None:
    whole = [batch_of(ROWS, codec, offset=10 * codec) for codec in (ZSTD, NONE, GZIP)]
    assert [record[0] for record in records_of(Fetched(b"".join(whole)))] == [40, 41, 42, 0, 1, 2, 10, 11, 12]
    for cut in (1, 30, len(whole[2]) - 1):
        assert [record[0] for record in records_of(Fetched(b"".join(whole)[:-cut]))] == [40, 41, 42, 0, 1, 2]
    for nothing in (b"", b"\0" * 11):
        assert not Fetched(nothing).has_next()
        assert Fetched(nothing).size_in_bytes() == len(nothing)
        assert Fetched(nothing).next_batch() is None


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("codec", CODECS)
def test_a_batch_that_unpacks_to_too_much_is_one_record_behind_which_reading_goes_on(codec: int) -> None:
    bomb = batch_of([*ROWS, *BOMB], codec, offset=10)
    (only, *after) = records_of(Fetched(bomb + batch_of(ROWS, codec, offset=14)))
    offset, timestamp, key, value, ((header, why),) = only
    assert (offset, timestamp, key, header) == (13, 1_000, None, UNPACKABLE)
    assert value == bomb[61:], "what was sent is kept as it was"
    assert why.startswith(b"a batch of 4 records cannot be unpacked to 1000000 bytes at most: ")
    assert [record[0] for record in after] == [14, 15, 16]
    assert MemoryRecords(unpacked(bomb)).next_batch().next_offset == 14


@pytest.mark.usefixtures("small")
def test_so_is_a_snappy_stream_of_which_each_block_would_be_small_enough() -> None:
    whole = batch_of(BOMB, NONE)
    records = records_of(Fetched(_with_records(whole, snappy_encode(whole[61:], xerial_blocksize=100_000), SNAPPY)))
    assert [headers[0][0] for *_, headers in records] == [UNPACKABLE]


@pytest.mark.parametrize("codec", [*CODECS, 5, 7])
@pytest.mark.parametrize("garbage", [b"", b"\x7f", b"\x82SNAPPY\x00" + b"\0" * 7 + b"\xff" * 4, b"{}" * 100])
def test_what_no_codec_can_read_is_one_record_too(codec: int, garbage: bytes) -> None:
    batch = _with_records(batch_of(ROWS, NONE, offset=5), garbage, codec)
    records = records_of(Fetched(batch + batch_of(ROWS, NONE, offset=8)))
    assert [header for header, _ in records[0][4]] == [UNPACKABLE]
    assert [record[0] for record in records] == [7, 8, 9, 10]


def test_whose_transaction_it_was_stays_known() -> None:
    before, after = (MemoryRecords(one).next_batch() for one in _packed_and_not(batch_of(ROWS, ZSTD, producer=9)))
    assert (after.producer_id, after.is_transactional, after.is_control_batch) == (9, True, False)
    assert (before.producer_id, before.is_transactional, before.is_control_batch) == (9, True, False)
    assert (after.base_offset, after.next_offset) == (before.base_offset, before.next_offset)


def test_what_was_not_packed_or_is_not_as_it_was_sent_stays_as_it_is() -> None:
    plain = batch_of(ROWS, NONE)
    assert unpacked(plain) == plain
    broken = bytearray(batch_of(MANY, ZSTD))
    broken[70] ^= 1
    assert unpacked(bytes(broken)) == bytes(broken)
    assert not Fetched(bytes(broken)).next_batch().validate_crc()
    assert unpacked(plain[:40]) == plain[:40]


def test_a_fetch_ends_where_it_has_unpacked_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    one = batch_of(MANY, ZSTD)
    monkeypatch.setattr(fetched, "FETCH_BYTES", 2 * len(unpacked(one)))
    assert len(records_of(Fetched(one * 5))) == 2 * len(MANY), "the others are fetched again"
    monkeypatch.setattr(fetched, "FETCH_BYTES", 1)
    assert len(records_of(Fetched(one * 5))) == len(MANY), "but one at least"


@pytest.mark.parametrize("codec", [NONE, ZSTD])
def test_a_headers_name_that_is_no_text_stops_nobody(codec: int) -> None:
    headers = [("ce_type", b"\xff"), ("xx\xffx", b"1"), ("ü\xfe", b""), ("", None), ("ö", b"2")]
    rows = [(None, None, headers[:2]), *ROWS, (b"k", b"v" * 300, headers), *ROWS]
    made = batch_of(rows, NONE, offset=3)
    for name in ("xx\xffx", "ü\xfe"):
        made = made.replace(name.encode(), name.encode("latin-1").rjust(len(name.encode()), b"\xff"))
    records = records_of(Fetched(_with_records(made, _packed(made[61:], codec), codec)))
    assert [record[2:4] for record in records] == [row[:2] for row in rows]
    assert records[0][4] == [("ce_type", b"\xff"), ("?xx?x", b"1")]
    assert records[4][4] == [("ce_type", b"\xff"), ("?xx?x", b"1"), ("????", b""), ("", None), ("ö", b"2")]
    assert [record[4] for record in records[1:4]] == [row[2] for row in ROWS]


@pytest.mark.parametrize(
    ("claimed", "last", "read"),
    [
        ([1_000_000], 0, [40]),
        ([-5], 0, [40]),
        ([0, 0, 0], 2, [40, 41, 42]),
        ([5, 5], 1, [40, 41]),
        ([1, 0], 1, [40, 41]),
        ([0, 2], 1, [40, 41]),
        ([0, 1, 2], 2, [40, 41, 42]),
        ([1, 4], 5, [41, 44]),
    ],
    ids=[
        "far ahead",
        "before the batch",
        "all at one",
        "outside",
        "backwards",
        "behind the batch",
        "right",
        "compacted",
    ],
)
def test_a_record_is_within_its_batch_wherever_its_publisher_says_that_it_is(
    claimed: list[int], last: int, read: list[int]
) -> None:
    """The broker does not look; by one far ahead all that comes after it would be passed over."""
    made = bytearray(batch_of(ROWS[:1] * len(claimed), NONE, offset=40, places=claimed))
    struct.pack_into(">i", made, 23, last)
    crafted = _with_records(bytes(made), bytes(made[61:]), NONE)
    records = records_of(Fetched(crafted + batch_of(ROWS, NONE, offset=41 + last)))
    assert [record[0] for record in records] == [*read, 41 + last, 42 + last, 43 + last]
    assert [record[2:] for record in records[: len(claimed)]] == [tuple(ROWS[0])] * len(claimed)


def _packed(records: bytes, codec: int) -> bytes:
    return bytes(cramjam.zstd.compress(records)) if codec == ZSTD else records


def _packed_and_not(batch: bytes) -> tuple[bytes, bytes]:
    assert unpacked(batch) != batch
    return batch, unpacked(batch)


def _with_records(batch: bytes, records: bytes, codec: int) -> bytes:
    """The batch's header before other records, as a publisher of one's own would make it."""
    made = bytearray(batch[:61] + records)
    struct.pack_into(">i", made, 8, len(made) - 12)
    made[22] = codec
    struct.pack_into(">I", made, 17, calc_crc32c(bytes(made[21:])))
    return bytes(made)
