"""Imports that are cancelled, killed or cut off, and files that are none."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from chassis.http import create_app
from ledger import importing, lines
from ledger.api import imports as routes
from ledger.store import imports as stored

from .conftest import SHOP, Ledger
from .files import CREDITS, TABLES, accepted, change, counts, drop, errors, problem, rows, send, told, work

# -- cancelling and killing


async def test_once_it_is_cancelled_no_further_line_is_posted_and_it_can_go_on(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "CHUNK_LINES", 10)
    import_id = await accepted(ledger, CREDITS + "".join(f"m-{n},1,gift\n" for n in range(100)))
    job = asyncio.create_task(work(ledger))
    while (await told(ledger, import_id))["worked"] < 20:
        await asyncio.sleep(0)
    answer = await change(ledger, import_id, "cancel")
    worked = answer.json()["worked"]
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    await job
    assert 20 <= worked < 100
    assert (await rows(ledger, "entry"))["entry"] == worked
    assert (await change(ledger, import_id, "cancel")).json()["state"] == "cancelled"
    assert (await change(ledger, import_id, "run")).json()["state"] == "running"
    await work(ledger)
    assert await counts(ledger, import_id) == ("done", 100, 0, 0, 0)
    problem(await change(ledger, import_id, "cancel"), 409, "import_not_possible")
    assert (await ledger.check())["system"] == {"adjusted": -100}


@pytest.mark.parametrize("seed", range(3))
async def test_however_often_the_job_is_killed_every_line_counts_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Beside live traffic on the same members."""
    monkeypatch.setattr(lines, "CHUNK_LINES", 60)
    chance = random.Random(seed)
    file = CREDITS + "".join(
        f"m-{chance.randrange(40)},{chance.randint(1, 9)},gift\n" if chance.random() < 0.9 else "bad line\n"
        for _ in range(600)
    )
    good = [int(line.split(",")[1]) for line in file.splitlines()[1:] if line != "bad line"]
    import_id = await accepted(ledger, file)
    kills = live = 0
    while (await told(ledger, import_id))["state"] == "running":
        job = asyncio.create_task(work(ledger))
        await asyncio.gather(*(ledger.award(f"m-{number}", 1) for number in range(3)))
        live += 3
        await asyncio.wait([job], timeout=chance.random() / 20)
        if not job.done():
            kills += 1
            job.cancel()
            await asyncio.gather(job, return_exceptions=True)
    assert kills > 3
    assert await counts(ledger, import_id) == ("done", len(good), 0, 0, 600 - len(good))
    one = await told(ledger, import_id)
    assert one["points_credited"] == sum(good)
    found = await ledger.check()
    assert found["system"] == {"adjusted": -sum(good), "issued": -live}
    assert found["entries"] == len(good) + live
    assert len(await errors(ledger, import_id)) == 600 - len(good)


async def test_a_commit_whose_answer_was_lost_is_not_counted_twice(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_id = await accepted(ledger, CREDITS + "".join(f"m-{n},1,gift\n" for n in range(50)))
    real = stored.advance

    async def lost(*_: Any, **__: Any) -> None:
        raise ConnectionError("all parts are committed; the chunk is not noted as done")

    monkeypatch.setattr(stored, "advance", lost)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await work(ledger)
    monkeypatch.setattr(stored, "advance", real)
    await work(ledger)
    assert await counts(ledger, import_id) == ("done", 50, 0, 0, 0)


async def test_a_fault_of_ours_stops_one_import_and_no_other(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = await accepted(ledger, CREDITS + "m-1,1,gift\n")
    good = await accepted(ledger, CREDITS + "m-2,2,gift\n")
    real = importing.work_part

    async def broken(tx: Any, part: importing.Part) -> bool:
        if str(part.import_id) == bad:
            raise AssertionError("a bug")
        return await real(tx, part)

    monkeypatch.setattr(importing, "work_part", broken)
    await work(ledger)
    assert [(await told(ledger, one))["state"] for one in (bad, good)] == ["failed", "done"]
    monkeypatch.setattr(importing, "work_part", real)
    assert (await change(ledger, bad, "run")).json()["state"] == "running"
    await work(ledger)
    assert await counts(ledger, bad) == ("done", 1, 0, 0, 0)


# -- what is not taken in


async def test_an_upload_that_is_cut_off_leaves_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "CHUNK_LINES", 10)
    file = (CREDITS + "".join(f"m-{n},1,gift\n" for n in range(100))).encode()
    seen = []

    async def receive() -> dict[str, Any]:
        if not seen:
            seen.append(1)
            return {"type": "http.request", "body": file[:900], "more_body": True}
        (counted,) = (await ledger.sql("SELECT count(*) FROM import_chunk"))[0]
        assert counted > 0, "it is stored as it comes"
        assert (await ledger.http.get(f"/v1/shops/{SHOP}/imports")).json()["imports"] == [], "and not seen"
        return {"type": "http.disconnect"}

    answer = await _raw(ledger, receive)
    assert answer == 400
    assert await rows(ledger, *TABLES) == dict.fromkeys(TABLES, 0)
    await work(ledger)
    assert await rows(ledger, "entry") == {"entry": 0}


async def test_what_a_killed_process_left_of_an_upload_is_never_run_and_dropped(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: Any) -> None:
        """As if the process had ended."""

    monkeypatch.setattr(routes, "_forget", nothing)
    monkeypatch.setattr(lines, "CHUNK_LINES", 1)

    async def receive() -> dict[str, Any]:
        if not await ledger.sql("SELECT FROM import_chunk"):
            return {"type": "http.request", "body": CREDITS.encode() + b"m-1,5,gift\nm-2,5", "more_body": True}
        return {"type": "http.disconnect"}

    assert await _raw(ledger, receive) == 400
    assert (await rows(ledger, "import", "import_chunk")) == {"import": 1, "import_chunk": 1}
    await work(ledger)
    ((left,),) = await ledger.sql("SELECT id FROM import")
    problem(await ledger.http.get(f"/v1/shops/{SHOP}/imports/{left}"), 404, "import_not_found")
    problem(await change(ledger, str(left), "run"), 404, "import_not_found")
    await drop(ledger)
    assert (await rows(ledger, "import"))["import"] == 1, "it may still be coming"
    monkeypatch.setattr(importing, "RECEIVING", timedelta())
    await drop(ledger)
    assert await rows(ledger, *TABLES, "entry") == dict.fromkeys((*TABLES, "entry"), 0)


async def _raw(ledger: Ledger, receive: Any) -> int:
    """A request whose body is what `receive` says; its status."""
    statuses = []

    async def sent(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    headers = [(b"authorization", ledger.tokens.headers()["authorization"].encode()), (b"idempotency-key", b"cut-off")]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": f"/v1/shops/{SHOP}/imports", "raw_path": b"", "query_string": b"kind=credit", "headers": headers,
        "client": ("test", 1), "server": ("ledger", 80), "root_path": "",
    }  # fmt: skip
    await create_app(ledger.runtime)(scope, receive, sent)  # type: ignore[arg-type]
    return int(statuses[0])


async def test_a_file_that_is_none_changes_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    found = problem(await send(ledger, "member,amount,colour\nm-1,5,red\n"), 422, "import_header_invalid")
    assert (found["unknown"], found["missing"]) == (["colour"], ["reason"])
    for content in (b"", b"\n", b"{}", b"\x00\x01", "member,amount,reason\n".encode("utf-16"), b"x" * 50_000):
        problem(await send(ledger, content), 422, "import_header_invalid")
    problem(await send(ledger, CREDITS + "\n \n"), 422, "import_empty")
    problem(await send(ledger, CREDITS + "m-1,5,gift", kind="gift"), 422, "invalid_request")
    problem(await send(ledger, CREDITS + "m-1,5,gift", operator="not an id"), 422, "invalid_request")
    problem(await send(ledger, CREDITS + "m-1,5,gift", dry_run="perhaps"), 422, "invalid_request")
    problem(await send(ledger, CREDITS + "m-1,5,gift", key="two words"), 400, "idempotency_key_invalid")
    for parameters in ({}, {"kind": "credit"}):
        answer = await ledger.http.post(f"/v1/shops/{SHOP}/imports", params=parameters, content=b"x")
        assert answer.status_code in (400, 422)
    monkeypatch.setattr(lines, "MOST_LINES", 4_500)
    found = problem(await send(ledger, CREDITS + "m-1,1,gift\n" * 4_501), 413, "import_too_long")
    assert await rows(ledger, *TABLES, "entry") == dict.fromkeys((*TABLES, "entry"), 0)


async def test_more_bytes_than_a_file_may_have_are_refused_as_they_come(ledger: Ledger) -> None:
    """The limit is the route's own: of other routes it is a mebibyte."""
    (route,) = [route for route in routes.router.hot_routes if route.handler is routes.send_import]
    assert route.body_bytes == routes.MOST_BYTES

    async def endless() -> AsyncIterator[bytes]:
        yield CREDITS.encode()
        while True:
            yield b"x" * (4 * 1024 * 1024)  # one line, of which only the beginning is kept

    problem(await send(ledger, endless()), 413, "body_too_large")
    told_before = await ledger.http.post(
        f"/v1/shops/{SHOP}/imports?kind=credit",
        content=b"x",
        headers={"content-length": str(routes.MOST_BYTES + 1), "idempotency-key": "k"},
    )
    problem(told_before, 413, "body_too_large")
    assert await rows(ledger, *TABLES) == dict.fromkeys(TABLES, 0)
    big = CREDITS + "".join(f"m-{n % 50},1,{'r' * 60}\n" for n in range(20_000))
    assert len(big) > 1_048_576
    assert (await send(ledger, big)).status_code == 202
