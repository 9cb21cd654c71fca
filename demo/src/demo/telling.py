"""One member's year, as anybody with a token sees it through the gateway, and the e-mail as the mailbox took it."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

import httpx

from demo.gateway import Gateway
from demo.screen import Screen
from demo.visiting import Visit

LINES: Final = 14
"""Of the statement."""

MAIL_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.2


async def tell(gateway: Gateway, mailbox_url: str, visit: Visit, address: str, screen: Screen) -> None:
    """Balance, statement, why, quote, hold, e-mail."""
    await _balance(gateway, visit.member, screen)
    await _statement(gateway, visit.member, screen)
    _checkout(visit, screen)
    await _why(gateway, visit.order, screen)
    await _mail(mailbox_url, address, screen)


async def _balance(gateway: Gateway, member: str, screen: Screen) -> None:
    (points,) = (await gateway.get(f"members/{member}/balances"))["balances"]
    screen.say(
        f"{screen.strong(format(points['available'], ','))} points to use, {points['pending']:,} pending, "
        f"{points['held']:,} held; earned {points['lifetime_earned']:,} and used {points['lifetime_spent']:,} so far"
    )
    for due in points["next_expiries"][:1]:
        screen.say(screen.dim(f"the next to end: {due['amount']:,} on {due['at'][:10]}"))
    screen.say()


async def _statement(gateway: Gateway, member: str, screen: Screen) -> None:
    entries = (await gateway.get(f"members/{member}/entries", limit=LINES))["entries"]
    screen.say(f"the newest {len(entries)} lines of the statement")
    for entry in entries:
        if entry["type"] != "entry":
            screen.say(f"  {entry['at'][:16].replace('T', ' ')}  refused: {entry['detail']}")
            continue
        changes = entry["changes"]
        moved = ", ".join(f"{change:+,} {bucket}" for bucket, change in changes.items() if change)
        cause = entry["cause"].get("rule") or entry["cause"].get("reason") or entry["checkout"] or ""
        screen.say(
            f"  {entry['at'][:16].replace('T', ' ')}  {entry['kind']:<9} {moved:<30} {cause:<16}"
            f" {screen.dim(entry['order'] or '')}"
        )
    screen.say()


async def _why(gateway: Gateway, order: str, screen: Screen) -> None:
    earnings = await gateway.get(f"orders/{order}/earnings")
    screen.say(f"why order {order} earned what it did: {earnings['points']:,} points kept")
    for rule in earnings["rules"]:
        if rule["fired"] and rule["points"]:
            also = f"  {screen.dim('with ' + ', '.join(rule['promotions']))}" if rule["promotions"] else ""
            screen.say(f"  {rule['rule']:<14} {rule['points']:>4}  {rule['arithmetic']}{also}")
    quiet = [rule for rule in earnings["rules"] if not rule["fired"]]
    for rule in quiet[:3]:
        screen.say(screen.dim(f"  {rule['rule']:<14}    –  {rule['reason']}"))
    if len(quiet) > 3:
        screen.say(screen.dim(f"  … and {len(quiet) - 3} more rules that gave nothing, each with its reason"))
    screen.say()


def _checkout(visit: Visit, screen: Screen) -> None:
    quote, checkout = visit.quote, visit.checkout
    if quote is not None:
        limit = f", limited by the {quote['limited_by'].replace('_', ' ')}" if quote["limited_by"] else ""
        which = "a quote for the same cart today" if visit.made_before else "the quote for its cart"
        screen.say(
            f"{which}: up to {quote['points']:,} of {quote['available']:,} points, "
            f"worth {_money(quote['worth'])}{limit}"
        )
    if checkout is not None:
        screen.say(
            f"checkout {checkout['checkout']}: {checkout['points']:,} points worth {_money(checkout['worth'])} held, "
            f"{checkout['captured']:,} captured when order {checkout['order']} was paid"
            + (f", {checkout['returned']:,} given back by its refund" if checkout["returned"] else "")
        )
    screen.say()


async def _mail(mailbox_url: str, address: str, screen: Screen) -> None:
    async with httpx.AsyncClient(base_url=mailbox_url, timeout=10) as mailbox:
        deadline = time.monotonic() + MAIL_SECONDS
        while True:
            found = (await mailbox.get("/api/messages", params={"to": address, "limit": 200})).json()["messages"]
            if found or time.monotonic() > deadline:
                break
            await asyncio.sleep(LOOK_SECONDS)
        if not found:
            screen.say(screen.bad(f"no e-mail to {address} after {MAIL_SECONDS:.0f} s"))
            return
        used = next((mail for mail in found if "used" in mail["subject"].lower()), found[0])
        whole: Mapping[str, Any] = (await mailbox.get(f"/api/messages/{used['id']}")).json()
    screen.say(f"one of the e-mails to {address}, as the mailbox took it")
    screen.say(f"  {screen.strong(whole['subject'])}")
    for line in (whole["text"] or "").strip().splitlines()[:8]:
        screen.say(f"  {screen.dim('│')} {line}")


def _money(cents: int) -> str:
    return f"${cents / 100:,.2f}"
