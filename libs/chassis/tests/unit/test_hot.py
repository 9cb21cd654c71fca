"""Which hot route a path is, and which are none."""

import pytest

from chassis.hot import HotRouter, HotTable
from chassis.problems import Problem
from chassis.server import HELD_BYTES, _OneWrite

BASE = "/v1/shops/corner"


async def handler(_: object) -> Problem:
    raise NotImplementedError


@pytest.fixture
def table() -> HotTable:
    router = HotRouter(prefix="/v1/shops/{shop}", tag="probe")
    for method, path in (
        ("GET", "/members/{member}/balances"),
        ("GET", "/members/{member}/entries"),
        ("POST", "/holds"),
        ("POST", "/holds/{hold}/capture"),
    ):
        router.hot(method, path, scopes=[], gives=None, status=204)(handler)
    return HotTable(router.hot_routes)


@pytest.mark.parametrize(
    ("method", "path", "route", "names"),
    [
        ("GET", "/members/m-1/balances", "/members/{member}/balances", {"shop": "corner", "member": "m-1"}),
        ("GET", "/members/balances/entries", "/members/{member}/entries", {"shop": "corner", "member": "balances"}),
        ("POST", "/holds", "/holds", {"shop": "corner"}),
        ("POST", "/holds/h:1/capture", "/holds/{hold}/capture", {"shop": "corner", "hold": "h:1"}),
    ],
)
def test_a_path_is_found_by_its_parts(table: HotTable, method: str, path: str, route: str, names: object) -> None:
    found = table.find(method, BASE + path)
    assert found is not None
    assert (found[0].path, found[1]) == ("/v1/shops/{shop}" + route, names)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", BASE + "/members/m-1/balances"),
        ("HEAD", BASE + "/members/m-1/balances"),
        ("GET", BASE + "/members/m-1/balances/"),
        ("GET", BASE + "/members//balances"),
        ("GET", "/v1/shops//members/m-1/balances"),
        ("GET", BASE + "/members/m-1/other"),
        ("GET", BASE + "/others/m-1/balances"),
        ("GET", "/v2/shops/corner/members/m-1/balances"),
        ("POST", BASE + "/holds/h/capture/x"),
        ("GET", "/"),
        ("GET", ""),
    ],
)
def test_every_other_path_is_left_to_the_framework(table: HotTable, method: str, path: str) -> None:
    assert table.find(method, path) is None


class Wire:
    """A transport that remembers what was written, and a loop that runs what waits when it is told to."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False
        self.turn: list[object] = []

    def __getattr__(self, name: str) -> object:
        return lambda *_: None

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def call_soon(self, callback: object) -> None:
        self.turn.append(callback)

    def end_turn(self) -> None:
        for callback in self.turn:
            callback()  # type: ignore[operator]
        self.turn.clear()


def test_what_one_turn_gives_is_one_write() -> None:
    wire = Wire()
    transport = _OneWrite(wire, wire)  # type: ignore[arg-type]
    transport.write(b"head ")
    transport.write(b"body")
    assert wire.written == []
    wire.end_turn()
    transport.write(b"next")
    wire.end_turn()
    assert wire.written == [b"head body", b"next"]


def test_much_is_written_at_once_and_nothing_is_lost_at_the_end() -> None:
    wire = Wire()
    transport = _OneWrite(wire, wire)  # type: ignore[arg-type]
    transport.write(b"x" * (HELD_BYTES + 1))
    assert wire.written == [b"x" * (HELD_BYTES + 1)]
    transport.write(b"last words")
    transport.close()
    wire.end_turn()
    assert wire.written[1:] == [b"last words"]
    assert wire.closed
