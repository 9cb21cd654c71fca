"""Files of postings: from bytes to lines to postings, however they are cut and whatever stands in them."""

import random
from contextlib import suppress
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.ledger import IMPORTS, OPENING
from ledger import lines
from ledger.domain import Credit, Debit
from ledger.domain.proposals import NOBODY
from ledger.lines import Chunk, File, HeaderInvalid, Incoming, LineInvalid, LineReader, TooManyLines, columns_of

CREDITS = b"member,amount,reason\n"
SHA = "ab" * 32


def taken_in(kind: str, content: bytes, *, cut: int = 65_536) -> tuple[Incoming, list[Chunk]]:
    incoming = Incoming(kind)
    chunks = [chunk for start in range(0, len(content), cut) for chunk in incoming.feed(content[start : start + cut])]
    return incoming, [*chunks, *incoming.end()]


def numbered(chunks: list[Chunk]) -> list[tuple[int, bytes]]:
    return [line for chunk in chunks for line in chunk.numbered()]


def reader(kind: str = "credit", columns: str = "member,amount,reason", zone: str = "Europe/Madrid") -> LineReader:
    found = columns_of(kind, columns.encode())
    return LineReader(File("corner", kind, found, SHA, "ana", ZoneInfo(zone)))


# -- bytes to lines


@given(
    st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")), max_size=30),
    st.integers(1, 50),
    st.booleans(),
)
def test_a_file_is_the_same_lines_however_it_is_cut(content: list[bytes], cut: int, ends: bool) -> None:
    file = CREDITS + b"\n".join(content) + (b"\n" if ends else b"")
    incoming, chunks = taken_in("credit", file, cut=cut)
    wanted = [(number, line) for number, line in enumerate(content, start=2) if line and not line.isspace()]
    assert numbered(chunks) == wanted
    assert (incoming.lines, incoming.bytes, incoming.chunks) == (len(wanted), len(file), len(chunks))
    assert sum(chunk.lines for chunk in chunks) == len(wanted)


def test_a_long_file_comes_in_chunks_of_whole_lines() -> None:
    content = CREDITS + b"".join(b"m-%d,1,gift\n" % number for number in range(10_000))
    _, chunks = taken_in("credit", content, cut=1_000)
    assert [chunk.number for chunk in chunks] == [0, 1, 2]
    assert [chunk.first_line for chunk in chunks] == [2, 4_002, 8_002]
    assert numbered(chunks) == [(number + 2, b"m-%d,1,gift" % number) for number in range(10_000)]


def test_wide_lines_make_chunks_by_their_bytes() -> None:
    content = CREDITS + b"".join(b"m-%d,1,%s\n" % (number, b"x" * 1_500) for number in range(400))
    _, chunks = taken_in("credit", content)
    assert max(len(chunk.content) for chunk in chunks) < lines.CHUNK_BYTES + lines.MOST_LINE_BYTES
    assert len(numbered(chunks)) == 400


def test_of_a_line_without_end_only_the_beginning_is_kept() -> None:
    incoming = Incoming("credit")
    list(incoming.feed(CREDITS))
    for _ in range(1_000):
        assert list(incoming.feed(b"x" * 10_000)) == []
        assert len(incoming._rest) <= lines.MOST_LINE_BYTES + 1
    chunks = [*incoming.feed(b"\nm-1,5,gift"), *incoming.end()]
    (long, fitting) = numbered(chunks)
    assert len(long[1]) == lines.MOST_LINE_BYTES + 1
    with pytest.raises(LineInvalid) as error:
        reader().asked(*long)
    assert error.value.code == "line_too_long"
    assert fitting == (3, b"m-1,5,gift")


def test_more_lines_than_a_file_may_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MOST_LINES", 3)
    taken_in("credit", CREDITS + b"a\nb\n\n\nc\n")
    with pytest.raises(TooManyLines):
        taken_in("credit", CREDITS + b"a\nb\nc\nd")


def test_the_hash_is_of_the_bytes_as_they_came() -> None:
    one, _ = taken_in("credit", CREDITS + b"m-1,5,gift\n", cut=3)
    other, _ = taken_in("credit", CREDITS + b"m-1,5,gift")
    assert len(one.sha256) == 32
    assert one.sha256 != other.sha256


# -- the header


@pytest.mark.parametrize(
    "header",
    [
        b"member,amount,reason",
        b"\xef\xbb\xbfmember,amount,reason",
        b'"member","amount","reason"\r',
        b" member , amount,reason \r",
    ],
)
def test_a_header_may_be_written_in_several_ways(header: bytes) -> None:
    assert columns_of("credit", header) == ("member", "amount", "reason")


@pytest.mark.parametrize(
    ("kind", "header", "facts"),
    [
        ("credit", "member,amount", {"missing": ["reason"]}),
        ("credit", "member,amount,reason,colour", {"unknown": ["colour"]}),
        ("credit", "member,member,amount,reason", {"repeated": ["member"]}),
        ("debit", "member,amount,reason,expires_on", {"unknown": ["expires_on"]}),
        ("credit", "member,amount,reason,priority", {"unknown": ["priority"]}),
        ("opening", "amount", {"missing": ["member"]}),
        ("credit", "member;amount;reason", {"unknown": ["member;amount;reason"]}),
        ("credit", "MEMBER,amount,reason", {"unknown": ["MEMBER"], "missing": ["member"]}),
        ("credit", "m-1,5,gift", {"unknown": ["m-1", "5", "gift"]}),
    ],
)
def test_a_header_that_is_none_says_what_is_wrong(kind: str, header: str, facts: dict[str, list[str]]) -> None:
    with pytest.raises(HeaderInvalid) as error:
        columns_of(kind, header.encode())
    assert facts.items() <= error.value.facts.items()


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"\xff\xfem\0e\0", b"member\0,amount,reason\n", b"x" * 100_000, b'"member,amount,reason\n', b"{}"],
)
def test_what_is_no_such_file_is_refused_at_its_first_line(content: bytes) -> None:
    with pytest.raises(HeaderInvalid):
        taken_in("credit", content)


# -- lines to postings


def test_a_line_asks_for_a_credit() -> None:
    columns = "member,amount,reason,key,activates_on,expires_on"
    asked = reader(columns=columns).asked(7, b"m-1, 100 ,goodwill,c-77,2027-01-01,2027-01-31\r")
    assert asked.posting == Credit(
        shop="corner",
        member="m-1",
        source="import",
        key="credit/c-77",
        amount=100,
        approval_within=NOBODY,
        cause='{"operator":"ana","reason":"goodwill"}',
        activates_at=datetime(2026, 12, 31, 23, tzinfo=UTC),
        expires_at=datetime(2027, 1, 31, 23, tzinfo=UTC),
    )


def test_a_line_without_a_key_is_named_by_its_file_and_place() -> None:
    asked = reader("debit").asked(12, b'"m-1",5,"typo"')
    assert asked.posting == Debit(
        shop="corner",
        member="m-1",
        source="import",
        key=f"debit/{SHA}/12",
        amount=5,
        approval_within=NOBODY,
        cause='{"operator":"ana","reason":"typo"}',
    )


def test_a_line_of_opening_balances_keeps_lots_and_dates() -> None:
    columns = "member,amount,earned_at,expires_on,priority,order"
    asked = reader("opening", columns).asked(2, b"m-1,40,2024-05-01T10:00:00+02:00,2026-12-31,-5,o-1").posting
    assert isinstance(asked, Credit)
    assert (asked.activates_at, asked.expires_at, asked.priority, asked.order) == (
        datetime(2024, 5, 1, 8, tzinfo=UTC),
        datetime(2026, 12, 31, 23, tzinfo=UTC),
        -5,
        "o-1",
    )
    assert asked.cause == '{"operator":"ana","reason":"opening"}'
    assert (asked.source, asked.key) == (IMPORTS, f"{OPENING}{SHA}/2"), "by which readers know that it is no news"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"m-1,5", "fields_mismatched"),
        (b"m-1,5,gift,", "fields_mismatched"),
        (b",5,gift", "member_invalid"),
        (b"ana@example.com,5,gift", "member_invalid"),
        (b"+34600123456,5,gift", "member_invalid"),
        (b"600-123-456,5,gift", "member_invalid"),
        (b"m 1,5,gift", "member_invalid"),
        (b"x" * 65 + b",5,gift", "member_invalid"),
        (b"m-1,,gift", "amount_invalid"),
        (b"m-1,five,gift", "amount_invalid"),
        (b"m-1,5.0,gift", "amount_invalid"),
        (b"m-1,+5,gift", "amount_invalid"),
        (b"m-1,-5,gift", "amount_invalid"),
        (b"m-1,1_000,gift", "amount_invalid"),
        ("m-1,٥,gift".encode(), "amount_invalid"),
        (b"m-1,1e3,gift", "amount_invalid"),
        (b"m-1,0,gift", "amount_out_of_range"),
        (b"m-1,1000000000001,gift", "amount_out_of_range"),
        (b"m-1,9" + b"9" * 18 + b",gift", "amount_out_of_range"),
        (b"m-1,5,", "reason_invalid"),
        (b"m-1,5,two words", "reason_invalid"),
        (b'm-1,5,"gift', "quotes_malformed"),
        (b'm-1,"5"0,gift', "quotes_malformed"),
        (b"m-1,5,gi\0ft", "control_character"),
        (b"m-1\t5\tgift", "control_character"),
        (b"m-1,5,gi\rft", "control_character"),
        (b"m-1,5,\xff", "not_utf8"),
        (b"m-1,5," + b"x" * 3_000, "line_too_long"),
    ],
)
def test_a_line_that_cannot_be_posted_says_why(line: bytes, code: str) -> None:
    with pytest.raises(LineInvalid) as error:
        reader().asked(2, line)
    assert error.value.code == code
    assert error.value.detail


@pytest.mark.parametrize(
    ("columns", "line", "code"),
    [
        ("key", "two words", "key_invalid"),
        ("key", "k" * 201, "key_invalid"),
        ("asset", "gold", "asset_invalid"),
        ("expires_at", "2027-01-01", "date_invalid"),
        ("expires_at", "2027-01-01T10:00:00", "date_invalid"),
        ("expires_at", "1700000000", "date_invalid"),
        ("expires_at", "tomorrow", "date_invalid"),
        ("expires_at", "0001-01-01T00:00:00+14:00", "date_invalid"),
        ("expires_at", "2600-01-01T00:00:00Z", "date_out_of_range"),
        ("expires_on", "2027-02-30", "date_invalid"),
        ("expires_on", "01/02/2027", "date_invalid"),
        ("expires_on", "2027-W01-1", "date_invalid"),
        ("expires_on", "9999-12-31", "date_invalid"),
        ("expires_on", "1969-12-01", "date_out_of_range"),
        ("priority", "1001", "priority_invalid"),
        ("priority", "high", "priority_invalid"),
        ("order", "an order", "order_invalid"),
        ("earned_at,activates_on", "2024-01-01T00:00:00Z,2024-01-01", "dates_contradict"),
        ("expires_at,expires_on", "2027-01-01T00:00:00Z,2027-01-01", "dates_contradict"),
    ],
)
def test_a_field_that_cannot_be_understood_says_why(columns: str, line: str, code: str) -> None:
    with pytest.raises(LineInvalid) as error:
        reader("opening", f"member,amount,{columns}").asked(2, f"m-1,5,{line}".encode())
    assert error.value.code == code


@given(st.binary(max_size=200))
def test_any_bytes_are_a_posting_or_say_why_not(line: bytes) -> None:
    columns = "member,amount,reason,asset,key,activates_at,expires_on"
    with suppress(LineInvalid):
        assert reader(columns=columns).asked(2, line).posting.key


def test_faults_never_repeat_what_may_be_personal() -> None:
    with pytest.raises(LineInvalid) as error:
        reader().asked(2, b"600123456,5,gift")
    assert "600123456" not in error.value.detail


def test_a_quote_that_is_missing_spoils_its_own_line_alone() -> None:
    _, chunks = taken_in("credit", CREDITS + b'm-1,5,"gift\nm-2,6,gift\n"m-3",7,"gift"\n')
    good = []
    for number, line in numbered(chunks):
        try:
            good.append(reader().asked(number, line).posting.member)
        except LineInvalid:
            assert number == 2
    assert good == ["m-2", "m-3"]


def test_a_million_short_lines_take_no_more_memory_than_a_chunk() -> None:
    """Of what is held only: a chunk that was handed on is its taker's."""
    incoming, chance, most = Incoming("credit"), random.Random(1), 0
    list(incoming.feed(CREDITS))
    for _ in range(200):
        for _ in incoming.feed(b"m-%d,1,gift\n" % chance.randrange(10**6) * 500):
            pass
        most = max(most, incoming._gathered_bytes + len(incoming._rest))
    assert most <= lines.CHUNK_BYTES + lines.MOST_LINE_BYTES
    assert incoming.lines == 100_000
