"""Files of postings as a caller sends them and looks at them."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx

from ledger import importing, schemas

from .conftest import SHOP, Ledger

CREDITS = "member,amount,reason\n"
TABLES = ("import", "import_chunk", "import_part", "import_error", "import_taken")


async def send(
    ledger: Ledger,
    content: str | bytes | AsyncIterator[bytes],
    *,
    kind: str = "credit",
    key: str | None = None,
    **query: Any,
) -> httpx.Response:
    return await ledger.http.post(
        f"/v1/shops/{SHOP}/imports",
        content=content.encode() if isinstance(content, str) else content,
        params={"kind": kind, **query},
        headers={"idempotency-key": key or ledger.key(), "content-type": "text/csv"},
    )


async def accepted(ledger: Ledger, content: str | bytes, **query: Any) -> str:
    answer = await send(ledger, content, **query)
    assert answer.status_code == 202, answer.text
    schemas.AcceptedImport.model_validate_json(answer.content)
    return str(answer.json()["id"])


async def work(ledger: Ledger) -> None:
    await importing.work(ledger.runtime.database, asyncio.Event())


async def told(ledger: Ledger, import_id: str) -> dict[str, Any]:
    answer = await ledger.http.get(f"/v1/shops/{SHOP}/imports/{import_id}")
    assert answer.status_code == 200, answer.text
    schemas.Import.model_validate_json(answer.content)
    return dict(answer.json())


async def counts(ledger: Ledger, import_id: str) -> tuple[Any, ...]:
    one = await told(ledger, import_id)
    return tuple(one[name] for name in ("state", "posted", "repeated", "refused", "invalid"))


async def done(ledger: Ledger, content: str | bytes, **query: Any) -> dict[str, Any]:
    """A file that was sent and worked off."""
    import_id = await accepted(ledger, content, **query)
    await work(ledger)
    return await told(ledger, import_id)


async def errors(ledger: Ledger, import_id: str) -> list[dict[str, str]]:
    answer = await ledger.http.get(f"/v1/shops/{SHOP}/imports/{import_id}/errors")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(answer.text)))


async def change(ledger: Ledger, import_id: str, verb: str) -> httpx.Response:
    return await ledger.http.post(f"/v1/shops/{SHOP}/imports/{import_id}/{verb}")


async def rows(ledger: Ledger, *tables: str) -> dict[str, int]:
    return {table: (await ledger.sql(f"SELECT count(*) FROM {table}"))[0][0] for table in tables}


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    return dict(answer.json())


async def drop(ledger: Ledger, **keep: float) -> None:
    await importing.drop_old(ledger.runtime.database, asyncio.Event(), keep=timedelta(**keep))
