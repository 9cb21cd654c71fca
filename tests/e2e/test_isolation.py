"""Shops see and move nothing of each other's, and what cannot be applied is kept and replayed."""

from functools import partial
from typing import Any

import httpx

from contracts import encode
from contracts.orders import OrderPaid
from testkit import wait_until

Shop = Any
Opener = Any

HEADERS = [("ce_specversion", b"1.0"), ("ce_source", b"/shops/e2e"), ("content-type", b"application/json")]


async def dead_letters(shop: Shop, service: str = "rules") -> list[dict[str, Any]]:
    """The shop's dead letters of a service, newest first."""
    found: list[dict[str, Any]] = (await shop.get(f"{service}/dead-letters"))["dead_letters"]
    return found


async def all_of(count: int, shop: Shop, service: str) -> list[dict[str, Any]] | None:
    """The same, once there are so many."""
    letters = await dead_letters(shop, service)
    return letters if len(letters) >= count else None


async def test_a_member_of_the_same_name_in_another_shop_is_somebody_else(opener: Opener) -> None:
    one, other = await opener(), await opener()
    await one.sell(1_000, order="the-same-order")
    await one.until_balance(available=10)
    await other.sell(700, order="the-same-order")
    await other.until_balance(available=7)
    assert (await one.balance())["available"] == 10
    assert [entry["changes"]["available"] for entry in await one.statement()] == [10]


async def test_a_token_of_one_shop_opens_no_other(opener: Opener) -> None:
    one, other = await opener(), await opener()
    await other.sell(1_000)
    await other.until_balance(available=10)
    for path in ("members/anna/balances", "members/anna/entries", "programme", "redemption/settings"):
        answer = await one.client.get(other.path(path))
        assert (answer.status_code, answer.json()["code"]) == (404, "shop_not_found")
    posting = {
        "key": "mine",
        "member": "anna",
        "cause": {"operator": "eve", "reason": "greed"},
        "effect": {"kind": "credit", "amount": 1_000_000},
    }
    answer = await one.client.post(
        other.path("postings"), json={"postings": [posting]}, headers={"idempotency-key": "mine"}
    )
    assert answer.status_code == 404
    assert (await other.balance())["available"] == 10


async def test_services_check_tokens_themselves_behind_the_gateway(shop: Shop) -> None:
    for service, path in {
        "ledger": "members/anna/balances",
        "rules": "programme",
        "redemption": "redemption/settings",
        "notifications": "members/anna/messages",
    }.items():
        async with httpx.AsyncClient(base_url=shop.system.service_url(service)) as client:
            assert (await client.get(shop.path(path))).status_code == 401
            headers = shop.system.tokens.headers(shop="somebody-else")
            assert (await client.get(shop.path(path), headers=headers)).status_code == 404


async def test_what_cannot_be_applied_becomes_a_dead_letter_and_the_stream_goes_on(shop: Shop) -> None:
    key = f"{shop.id}/anna".encode()
    order = OrderPaid.example().model_copy(update={"shop": shop.id, "member": "anna"})
    bad = {
        "malformed": (b"order-paid", b'{"shop": "' + shop.id.encode() + b'", "order": 7}'),
        "not JSON": (b"order-paid", b"\x00\xff\xfe"),
        "unknown version": (b"order-paid.v9", encode(order)),
        "wrong shop": (b"order-paid", encode(order.model_copy(update={"shop": "another-shop"}))),
        "oversized": (b"order-paid", b'{"padding": "' + b"x" * 600_000 + b'"}'),
    }
    for kind, value in bad.values():
        await shop.publish_raw(key, value, [*HEADERS, ("ce_type", kind), ("ce_id", b"bad")])
    await shop.publish_raw(key, None, [*HEADERS, ("ce_type", b"order-paid"), ("ce_id", b"empty")])
    await shop.publish_raw(key, encode(order), [])
    await shop.sell(1_000)
    await shop.until_balance(available=10)
    for service in ("rules", "redemption"):
        letters = await wait_until(partial(all_of, len(bad) + 2, shop, service))  # each reads in its own time
        codes = sorted(letter["code"] for letter in letters)
        assert codes == ["malformed"] * 4 + ["type_missing", "type_unknown", "wrong_shop"]
        assert all(letter["detail"] and letter["code"] for letter in letters)
        whole = await shop.get(f"{service}/dead-letters/{letters[-1]['id']}")
        assert whole["size_bytes"] == len(bad["malformed"][1])
