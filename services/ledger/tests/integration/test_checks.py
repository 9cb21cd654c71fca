"""What the database refuses to everybody, and the check that finds what its owner has changed all the same."""

from typing import Any

import asyncpg
import pytest

from ledger import schemas
from ledger.api import checks
from ledger.store import checking

from .conftest import SHOP, Ledger

M = "m-1"


async def test_the_history_cannot_be_changed_by_the_app_role(ledger: Ledger) -> None:
    await ledger.award(M, 10)
    for statement in (
        "UPDATE entry SET available = 1000",
        "DELETE FROM entry",
        "TRUNCATE entry",
        "UPDATE refusal SET code = 'x'",
        "DELETE FROM refusal",
        "DELETE FROM posting",
        "UPDATE lot SET expires_at = NULL",
        "DROP TABLE entry",
        "ALTER TABLE entry DROP COLUMN hash",
        "CREATE TABLE other (id int)",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ledger.sql(statement)
    assert await ledger.buckets(M) == (10, 0, 0, 0)


async def test_a_tampered_history_is_found(ledger: Ledger) -> None:
    await ledger.award(M, 10)
    await ledger.award(M, 20)
    owner = await asyncpg.connect(ledger.database.migration_url)
    await owner.execute("UPDATE entry SET available = 15, available_after = 15 WHERE seq = 1")
    await owner.execute("UPDATE account SET available = 35")
    await owner.execute("UPDATE lot SET remaining = 15, amount = 15 WHERE number = 1")
    await owner.close()
    response = await ledger.http.get(f"/v1/shops/{SHOP}/ledger/check", params={"chains": "true"})
    found = response.json()
    schemas.CheckedLedger.model_validate_json(response.content)
    assert (found["replay_mismatches"], found["chain_breaks"], found["sum_of_accounts"]) == (0, 1, 5)
    assert found["mismatched_members"] == [M]


async def pages(ledger: Ledger, **query: str) -> list[dict[str, Any]]:
    """All pages of a check."""
    found: list[dict[str, Any]] = []
    while not found or found[-1]["next"] is not None:
        after = {"after": found[-1]["next"]} if found else {}
        response = await ledger.http.get(f"/v1/shops/{SHOP}/ledger/check", params={**query, **after})
        assert response.status_code == 200, response.text
        found.append(response.json())
        assert len(found) < 50, "a check that does not get on"
    return found


async def test_a_check_of_a_big_shop_goes_on_where_the_page_before_had_no_more_time(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ledger.learn("elsewhere")
    for member in ("m-1", "m-2", "m-3"):
        for _ in range(5):
            await ledger.award(member, 10)
    whole = await ledger.check()
    monkeypatch.setattr(checks, "CHECK_SECONDS", 0.0)
    monkeypatch.setattr(checking, "LINKS_TOGETHER", 2)
    found = await pages(ledger, chains="true")
    assert [page["next"] for page in found] == [
        "m-1/points/2",
        "m-1/points/4",
        "m-2/points/2",
        "m-2/points/4",
        "m-3/points/2",
        "m-3/points/4",
        None,
    ]
    for name in ("accounts", "entries", "replay_mismatches", "seq_gaps", "book_mismatches", "chain_breaks"):
        assert sum(page[name] for page in found) == whole[name], name
    assert {page["sum_of_accounts"] for page in found} == {0}
    assert [page["accounts"] for page in await pages(ledger)] == [1, 1, 1, 0]


async def test_accounts_with_many_entries_are_checked_in_statements_of_their_own(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for member in ("m-1", "m-2", "m-3"):
        for _ in range(3):
            await ledger.award(member, 10)
    monkeypatch.setattr(checking, "ENTRIES_TOGETHER", 4)
    found = await ledger.check()
    assert (found["accounts"], found["entries"], found["next"]) == (3, 9, None)


@pytest.mark.parametrize("seq", range(1, 6))
async def test_a_tampered_entry_is_found_on_whichever_page_it_is(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, seq: int
) -> None:
    for _ in range(5):
        await ledger.award(M, 10)
    owner = await asyncpg.connect(ledger.database.migration_url)
    await owner.execute("UPDATE entry SET source = 'somebody' WHERE seq = $1", seq)
    await owner.close()
    monkeypatch.setattr(checks, "CHECK_SECONDS", 0.0)
    monkeypatch.setattr(checking, "LINKS_TOGETHER", 2)
    found = await pages(ledger, chains="true")
    assert sum(page["chain_breaks"] for page in found) == 1
    assert [member for page in found for member in page["mismatched_members"]] == [M]


async def test_a_check_goes_on_only_from_a_next_of_its_own(ledger: Ledger) -> None:
    for cursor in ("", "m-1", "m-1/points", "m-1/points/x", "m-1/points/1/2", "m 1/points/1", "m-1/points/" + "9" * 30):
        response = await ledger.http.get(f"/v1/shops/{SHOP}/ledger/check", params={"after": cursor})
        assert (response.status_code, response.json()["code"]) == (422, "cursor_invalid"), cursor
