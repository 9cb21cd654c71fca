"""Imports: what a file does, once, whoever sends it again; bad lines stop no other."""

import asyncio
from uuid import UUID

import pytest

from ledger import importing, lines, schemas
from ledger.api import imports as routes
from local.paths import ROOT

from .conftest import SHOP, Ledger, iso
from .files import CREDITS, TABLES, accepted, change, counts, done, drop, errors, problem, rows, send, told, work

# -- what a file does


async def test_a_file_of_credits_is_posted(ledger: Ledger) -> None:
    one = await done(
        ledger,
        "\ufeffmember,amount,reason,expires_on\r\nm-1,10,goodwill,2030-01-31\r\n\r\nm-2,20,goodwill,\r\nm-1,5,birthday,",
        operator="ana",
    )
    assert (one["state"], one["lines"], one["worked"], one["posted"]) == ("done", 3, 3, 3)
    assert (one["points_credited"], one["points_debited"], one["tried"]) == (35, 0, False)
    assert one["started_at"] <= one["finished_at"]
    assert await ledger.buckets("m-1") == (15, 0, 0, 0)
    assert await ledger.buckets("m-2") == (20, 0, 0, 0)
    second, first = await ledger.entries("m-1")
    assert (first["kind"], first["source"], first["cause"]) == (
        "credit",
        "import",
        {"operator": "ana", "reason": "goodwill"},
    )
    assert first["lots"][0]["expires_at"] == "2030-01-31T23:00:00Z"
    assert second["posting"] == f"credit/{one['sha256']}/5", "lines are counted as an editor counts them"
    assert await errors(ledger, one["id"]) == []
    await ledger.check()


async def test_a_file_of_debits_takes_what_is_there_and_names_the_lines_that_were_refused(ledger: Ledger) -> None:
    await ledger.award("m-1", 100)
    one = await done(
        ledger, "member,amount,reason\nm-1,60,fraud\nm-1,60,fraud\nm-1,40,fraud\nm-9,1,fraud\n", kind="debit"
    )
    assert (one["posted"], one["refused"], one["points_debited"]) == (2, 2, 100)
    assert await ledger.buckets("m-1") == (0, 0, 0, 0)
    found = await errors(ledger, one["id"])
    assert [tuple(row.values()) for row in found] == [
        ("3", "insufficient_points", "60 asked, 40 available", "m-1", "60", "fraud"),
        ("5", "insufficient_points", "1 asked, 0 available", "m-9", "1", "fraud"),
    ]
    assert list(found[0]) == ["line", "code", "detail", "member", "amount", "reason"]
    await ledger.check()


@pytest.mark.parametrize("kind", ["credit", "opening"])
async def test_what_one_person_may_not_move_alone_is_not_moved_by_a_file(ledger: Ledger, kind: str) -> None:
    await ledger.learn(revision=2, approval_above={"points": 100})
    one = await done(ledger, "member,amount,reason\nm-1,100,goodwill\nm-1,101,goodwill\n", kind=kind, dry_run="true")
    assert (one["posted"], one["refused"]) == (1, 1)
    one = await done(ledger, "member,amount,reason\nm-1,100,goodwill\nm-1,101,goodwill\n", kind=kind)
    assert (one["posted"], one["refused"], one["points_credited"]) == (1, 1, 100)
    (found,) = await errors(ledger, one["id"])
    assert (found["line"], found["code"]) == ("3", "approval_needed")
    assert await ledger.buckets("m-1") == (100, 0, 0, 0)
    assert await rows(ledger, "proposal") == {"proposal": 0}
    await ledger.check()


async def test_opening_balances_keep_their_lots_and_dates(ledger: Ledger) -> None:
    soon = iso(days=3)
    file = (
        "member,amount,earned_on,expires_on,expires_at,priority,activates_at\n"
        "m-1,40,2024-05-01,2024-12-31,,,\n"  # over before it came here: both are visible
        f"m-1,30,2025-05-01,,{iso(days=400)},,\n"
        f"m-1,20,2025-06-01,,{iso(days=30)},,\n"
        f"m-1,10,2025-07-01,,,-1,\n"
        f"m-1,7,,,,,{soon}\n"
    )
    one = await done(ledger, file, kind="opening")
    assert (one["posted"], one["points_credited"]) == (5, 107)
    assert await ledger.buckets("m-1") == (60, 7, 0, 0)
    assert (await ledger.balance("m-1"))["lifetime_earned"] == 0
    assert [line["kind"] for line in await ledger.entries("m-1")][::-1] == ["credit", "expire", *["credit"] * 4]
    lots = await ledger.sql("SELECT amount, activates_at::date::text AS day FROM lot ORDER BY number")
    assert [tuple(lot) for lot in lots][:4] == [
        (40, "2024-04-30"),
        (30, "2025-04-30"),
        (20, "2025-05-31"),
        (10, "2025-06-30"),
    ]
    await ledger.done("m-1", {"kind": "debit", "amount": 15}, cause={"operator": "ana", "reason": "typo"})
    used = (await ledger.entries("m-1"))[0]["lots"]
    assert [(use["change"], use["remaining"]) for use in used] == [(-10, 0), (-5, 15)], "by priority, then soonest end"
    await ledger.check()


async def test_bad_lines_stop_no_other_and_are_told_with_their_fields(ledger: Ledger) -> None:
    file = (
        CREDITS.encode()
        + b"m-1,1,gift\nana@example.com,1,gift\nm-1,0,gift\nm-1,1\n\nm-1,\xff,gift\n=cmd(),1,gift\n"
        + b'm-1,1,"gift\nm-1,' + b"9" * 5_000 + b",gift\nm-1,1000000000000000000000,gift\nm-1,2,gift\n"
    )  # fmt: skip
    one = await done(ledger, file)
    assert await ledger.buckets("m-1") == (3, 0, 0, 0)
    assert (one["state"], one["lines"], one["posted"], one["refused"], one["invalid"]) == ("done", 10, 2, 0, 8)
    found = await errors(ledger, one["id"])
    assert [(int(row["line"]), row["code"]) for row in found] == [
        (3, "member_invalid"),
        (4, "amount_out_of_range"),
        (5, "fields_mismatched"),
        (7, "not_utf8"),
        (8, "member_invalid"),
        (9, "quotes_malformed"),
        (10, "line_too_long"),
        (11, "amount_invalid"),
    ]
    assert found[0]["member"] == "ana@example.com"
    assert found[4]["member"] == "'=cmd()", "a spreadsheet must not run what somebody sent"


# -- twice


async def test_the_same_file_again_posts_nothing_whoever_sends_it(ledger: Ledger) -> None:
    file = CREDITS + "".join(f"m-{number},{number + 1},gift\n" for number in range(20))
    first = await done(ledger, file, operator="ana")
    before = await rows(ledger, "entry", "posting")
    again = await done(ledger, file, operator="ben")
    assert again["id"] != first["id"]
    assert (again["posted"], again["repeated"], again["refused"], again["points_credited"]) == (0, 20, 0, 0)
    ledger.http.headers.update(ledger.tokens.headers(sub="another-client"))
    third = await done(ledger, file)
    assert (third["posted"], third["repeated"], third["operator"]) == (0, 20, "another-client")
    assert await rows(ledger, "entry", "posting") == before
    await ledger.check()


async def test_the_same_file_twice_at_the_same_time_posts_once(ledger: Ledger) -> None:
    file = CREDITS + "".join(f"m-{number % 30},1,gift\n" for number in range(300))
    ids = await asyncio.gather(*(accepted(ledger, file, operator=f"op-{number}") for number in range(4)))
    await asyncio.gather(*(work(ledger) for _ in range(3)))
    found = [await told(ledger, one) for one in ids]
    assert {one["state"] for one in found} == {"done"}
    assert sum(one["posted"] for one in found) == 300
    assert sum(one["repeated"] for one in found) == 900
    assert (await ledger.check())["system"] == {"adjusted": -300}


async def test_the_same_key_with_the_same_file_is_the_first_answer(ledger: Ledger) -> None:
    first = await send(ledger, CREDITS + "m-1,5,gift\n", key="k-1")
    await work(ledger)
    again = await send(ledger, CREDITS + "m-1,5,gift\n", key="k-1")
    assert (again.status_code, again.content) == (first.status_code, first.content)
    before = await rows(ledger, *TABLES)
    for other in (
        await send(ledger, CREDITS + "m-1,6,gift\n", key="k-1"),
        await send(ledger, CREDITS + "m-1,5,gift\n", key="k-1", operator="somebody"),
        await send(ledger, CREDITS + "m-1,5,gift\n", key="k-1", dry_run=True),
        await send(ledger, CREDITS + "m-1,5,gift\n", key="k-1", kind="debit"),
    ):
        problem(other, 409, "idempotency_conflict")
    await work(ledger)
    assert await rows(ledger, *TABLES) == before
    assert await ledger.buckets("m-1") == (5, 0, 0, 0)


async def test_the_same_key_at_the_same_time_is_one_import(ledger: Ledger) -> None:
    file = CREDITS + "m-1,5,gift\n"
    answers = await asyncio.gather(*(send(ledger, file, key="k-1") for _ in range(6)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert (await rows(ledger, "import", "import_chunk")) == {"import": 1, "import_chunk": 1}


async def test_a_lines_own_key_counts_once_over_all_files(ledger: Ledger) -> None:
    first = await done(ledger, "member,amount,reason,key\nm-1,5,gift,g-1\nm-2,5,gift,g-2\nm-1,5,gift,g-1\n")
    assert (first["posted"], first["repeated"]) == (2, 1)
    second = await done(ledger, "member,key,amount,reason\nm-3,g-3,5,gift\nm-1,g-1,5,gift\nm-2,g-2,6,gift\n")
    assert (second["posted"], second["repeated"], second["refused"]) == (1, 1, 1)
    assert [(row["line"], row["code"]) for row in await errors(ledger, second["id"])] == [("4", "idempotency_conflict")]
    assert (await ledger.check())["system"] == {"adjusted": -15}


async def test_a_file_of_credits_can_be_sent_as_debits_to_undo_it(ledger: Ledger) -> None:
    file = CREDITS + "m-1,5,mistake\nm-2,6,mistake\n"
    await done(ledger, file)
    undone = await done(ledger, file, kind="debit")
    assert (undone["posted"], undone["points_debited"]) == (2, 11)
    assert await ledger.buckets("m-1") == await ledger.buckets("m-2") == (0, 0, 0, 0)


# -- dry runs


async def test_a_dry_run_says_what_would_happen_and_posts_nothing(ledger: Ledger) -> None:
    await ledger.award("m-1", 100)
    before = await rows(ledger, "entry", "posting", "refusal", "account")
    file = "member,amount,reason\nm-1,60,fraud\nm-1,60,fraud\nm-1,40,fraud\nm-2,5,fraud\nm-1,x,fraud\n"
    one = await done(ledger, file, kind="debit", dry_run=True)
    assert (one["state"], one["tried"], one["dry_run"]) == ("checked", True, True)
    assert (one["posted"], one["refused"], one["invalid"], one["points_debited"]) == (2, 2, 1, 100)
    assert [row["code"] for row in await errors(ledger, one["id"])] == [*["insufficient_points"] * 2, "amount_invalid"]
    assert await rows(ledger, "entry", "posting", "refusal", "account") == before
    assert await ledger.buckets("m-1") == (100, 0, 0, 0)

    answer = await change(ledger, one["id"], "run")
    assert (answer.status_code, answer.json()["state"], answer.json()["worked"]) == (200, "running", 0)
    assert (await change(ledger, one["id"], "run")).json()["state"] == "running", "again is the same"
    await work(ledger)
    real = await told(ledger, one["id"])
    assert (real["state"], real["tried"], real["posted"], real["refused"], real["points_debited"]) == (
        "done",
        False,
        2,
        2,
        100,
    )
    assert (await change(ledger, one["id"], "run")).json()["state"] == "done"
    assert await ledger.buckets("m-1") == (0, 0, 0, 0)
    await ledger.check()


async def test_a_dry_run_judges_a_members_lines_one_after_the_other_over_all_parts(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "CHUNK_LINES", 7)
    monkeypatch.setattr(importing, "BATCH", 3)
    await ledger.award("m-1", 100, expires_at=iso(days=3))
    await ledger.award("m-1", 50, expires_at=iso(hours=-1))
    file = "member,amount,reason\n" + "m-1,7,fraud\n" * 40
    one = await done(ledger, file, kind="debit", dry_run=True)
    assert (one["posted"], one["refused"], one["points_debited"]) == (14, 26, 98)
    await change(ledger, one["id"], "run")
    await work(ledger)
    assert (await told(ledger, one["id"]))["posted"] == 14
    assert await ledger.buckets("m-1") == (2, 0, 0, 0)


async def test_a_dry_run_knows_what_was_posted_before(ledger: Ledger) -> None:
    file = "member,amount,reason,key\nm-1,5,gift,g-1\nm-2,6,gift,g-2\n"
    await done(ledger, "member,amount,reason,key\nm-1,5,gift,g-1\nm-2,9,gift,g-2\n")
    one = await done(ledger, file, dry_run=True)
    assert (one["posted"], one["repeated"], one["refused"], one["points_credited"]) == (0, 1, 1, 0)


# -- looking


async def test_imports_are_listed_newest_first_and_only_a_shops_own(ledger: Ledger) -> None:
    await ledger.learn("elsewhere")
    ids = [await accepted(ledger, CREDITS + f"m-1,{number + 1},gift\n") for number in range(5)]
    found, query = [], {"limit": "2"}
    while True:
        answer = await ledger.http.get(f"/v1/shops/{SHOP}/imports", params=query)
        page = answer.json()
        schemas.Imports.model_validate_json(answer.content)
        found += [one["id"] for one in page["imports"]]
        if page["next"] is None:
            break
        query["after"] = page["next"]
    assert found == ids[::-1]
    assert (await ledger.http.get("/v1/shops/elsewhere/imports")).json() == {"imports": [], "next": None}
    for path in ("", "/errors"):
        problem(await ledger.http.get(f"/v1/shops/elsewhere/imports/{ids[0]}{path}"), 404, "import_not_found")
    problem(await ledger.http.post(f"/v1/shops/elsewhere/imports/{ids[0]}/cancel"), 404, "import_not_found")
    problem(await ledger.http.get(f"/v1/shops/{SHOP}/imports/{UUID(int=5)}"), 404, "import_not_found")
    problem(await ledger.http.get(f"/v1/shops/{SHOP}/imports/nonsense"), 422, "invalid_request")


async def test_many_errors_are_told_in_the_order_of_their_lines(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "CHUNK_LINES", 100)
    monkeypatch.setattr(routes, "ERRORS_TOGETHER", 70)
    one = await done(ledger, CREDITS + "".join(f"m-{n},{n % 2},gift\n" for n in range(1_000)))
    found = await errors(ledger, one["id"])
    assert [(int(row["line"]), row["member"]) for row in found] == [(n + 2, f"m-{n}") for n in range(0, 1_000, 2)]


# -- dropping


async def test_lines_are_dropped_after_their_time_and_their_numbers_stay(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "DROPPED_TOGETHER", 2)
    over = await done(ledger, CREDITS + "m-1,5,gift\n" + "bad\n" * 5)
    checked = await done(ledger, CREDITS + "m-1,9,gift\n", dry_run=True)
    waiting = await accepted(ledger, CREDITS + "m-1,7,gift\n")
    await drop(ledger, days=30)
    assert (await rows(ledger, "import_chunk"))["import_chunk"] == 3
    await drop(ledger)
    assert await rows(ledger, "import_chunk", "import_error") == {"import_chunk": 1, "import_error": 0}
    assert await counts(ledger, over["id"]) == ("done", 1, 0, 0, 5)
    assert (await told(ledger, over["id"]))["dropped_at"] is not None
    problem(await ledger.http.get(f"/v1/shops/{SHOP}/imports/{over['id']}/errors"), 409, "import_dropped")
    problem(await change(ledger, checked["id"], "run"), 409, "import_dropped")
    await work(ledger)
    assert (await told(ledger, waiting))["state"] == "done"
    again = await send(ledger, CREDITS + "m-1,5,gift\n" + "bad\n" * 5)
    await work(ledger)
    assert (await counts(ledger, again.json()["id"]))[:3] == ("done", 0, 1), "a file stays known for ever"
    assert await ledger.buckets("m-1") == (12, 0, 0, 0)


async def test_the_app_role_cannot_change_what_a_file_asked_for(ledger: Ledger) -> None:
    await accepted(ledger, CREDITS + "m-1,5,gift\n")
    for statement in (
        "UPDATE import_chunk SET content = ''",
        "UPDATE import SET operator = 'somebody'",
        "UPDATE import SET kind = 'debit'",
        "DELETE FROM import_part",
    ):
        with pytest.raises(Exception, match="permission denied"):
            await ledger.sql(statement)


# -- what the documents promise


@pytest.mark.parametrize("kind", ["credit", "debit", "opening"])
async def test_the_examples_of_the_documents_are_posted_line_by_line(ledger: Ledger, kind: str) -> None:
    file = (ROOT / "docs" / "examples" / f"{kind}.csv").read_bytes()
    for member in ("m-2417", "m-0033", "m-7781"):
        await ledger.award(member, 1_000)
    one = await done(ledger, file, kind=kind)
    assert (one["state"], one["posted"], one["lines"]) == ("done", one["lines"], len(file.splitlines()) - 1)
    assert (await ledger.check())["sum_of_accounts"] == 0


def test_the_documents_name_every_column() -> None:
    text = (ROOT / "docs" / "imports.md").read_text()
    for required, optional in lines.COLUMNS.values():
        for name in (*required, *optional):
            assert f"`{name}`" in text
