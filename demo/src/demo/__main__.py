"""`python -m demo`: real baskets through the whole system, what came of them, and one member's story."""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import workload
from demo import proving, replaying, running, telling, visiting
from demo.gateway import Gateway, Refused
from demo.lag import Lag
from demo.marker import Marker
from demo.screen import Screen
from demo.visiting import Visit
from demo.watching import Watcher
from local.settings import LocalSettings
from workload import Plan, Selection

DEFAULT_BASKETS = 20_000
REPEATED, LATE = 0.02, 0.02
"""Shares of events that come twice, and that are overtaken by newer ones."""
WITH_CONTACT = 3
"""Members who have left an address; each hears of everything that happens to their points."""
HELD_AGAINST_MODEL = 1_000
"""So many orders are held against the model; each takes it a few milliseconds."""
EVENTS_PER_ORDER = 2.6
"""About; for the bar's length before all events are made."""


def main() -> int:
    """Run it; the exit status is 0 only when everything that must hold does."""
    screen, settings = Screen(), LocalSettings()
    wanted = os.environ.get("BASKETS", str(DEFAULT_BASKETS))
    if wanted != "all" and not wanted.isdecimal():
        print(f"BASKETS is a number or `all`, not {wanted!r}", file=sys.stderr)
        return 2
    started = False
    try:
        if not running.is_up():
            screen.title("Starting PostgreSQL, Kafka, four services, a mailbox and the gateway")
            started = True
            running.start()
        return asyncio.run(Demo(settings, screen).run(None if wanted == "all" else int(wanted)))
    except KeyboardInterrupt:
        print()
        if started:
            running.stop()
        return 130
    except running.NotUp as failure:
        if str(failure):
            print(failure, file=sys.stderr)
        return 1
    except (Refused, replaying.Stalled, visiting.TookTooLong) as failure:
        print(f"\n{failure}\n`make logs` and `make status` say more.", file=sys.stderr)
        return 1


class Demo:
    """One run."""

    def __init__(self, settings: LocalSettings, screen: Screen) -> None:
        self._settings = settings
        self._screen = screen
        self._marker_file = settings.var / "demo-replayed.json"
        self._facts_file = settings.var / "demo.json"
        self._marker = Marker.read(self._marker_file)
        self._plan = Plan(shop=running.SHOP, ends_at=self._marker.year_ends_at)

    async def run(self, wanted: int | None) -> int:
        """All of it."""
        screen, settings = self._screen, self._settings
        screen.title("Opening the shop")
        for line in await asyncio.to_thread(_opened, settings):
            screen.say(line)
        year = await asyncio.to_thread(workload.load)
        baskets = year.everything() if wanted is None else year.take(wanted)
        async with Gateway(running.gateway_url(settings), running.token(settings), running.SHOP) as gateway:
            addresses = await self._leave_addresses(gateway, visiting.visitors(baskets))
            async with Watcher(running.bootstrap_servers(settings), running.SHOP) as watcher:
                screen.title(f"A year of {len(baskets):,} real baskets, through Kafka")
                await self._replay(baskets, watcher)
                screen.title("Paying with points")
                visits = await visiting.visit_all(gateway, running.bootstrap_servers(settings), baskets, screen)
                async with Lag(running.bootstrap_servers(settings)) as lag:
                    await replaying.settled(watcher, lag)
                facts, faults = await self._prove(gateway, watcher, baskets, visits)
            await self._tell_story(gateway, visits, addresses)
        self._show(facts, faults)
        self._say_where()
        return 1 if faults else 0

    async def _leave_addresses(self, gateway: Gateway, visits: list[Visit]) -> dict[str, str]:
        addresses = {visit.member: f"{visit.member}@demo.example" for visit in visits[:WITH_CONTACT]}
        for member, address in addresses.items():
            contact = {"email": address, "name": f"Household {member[2:]}", "language": "en"}
            await gateway.put(f"members/{member}/contact", contact)
        self._screen.say(f"{len(addresses)} members have left an address: {', '.join(addresses.values())}")
        return addresses

    async def _replay(self, baskets: Selection, watcher: Watcher) -> None:
        screen, marker = self._screen, self._marker
        if marker.baskets >= len(baskets) and marker.seconds:
            screen.say(
                f"replayed before: {marker.orders:,} orders in {marker.events:,} events, "
                f"in {marker.seconds:,.1f} s ({marker.orders / marker.seconds:,.0f} orders/s); nothing is sent again"
            )
            await self._caught_up(watcher)
            return
        self._marker.keep(self._marker_file)  # so that a run that is broken off goes on with the same orders
        screen.say(
            screen.dim("payments, fulfilments, cancels, refunds, changes, guests; repeats and late ones among them")
        )
        lives = workload.lives(baskets, self._plan)
        events = workload.deliveries(lives, repeats=REPEATED, late=LATE)
        expected = int(len(baskets) * EVENTS_PER_ORDER * (1 + REPEATED))
        done = await replaying.replay(
            running.bootstrap_servers(self._settings), events, watcher, screen, expected=expected
        )
        self._marker = marker.after(baskets=len(baskets), orders=len(baskets), events=done.events, seconds=done.seconds)
        self._marker.keep(self._marker_file)

    async def _caught_up(self, watcher: Watcher) -> None:
        async with Lag(running.bootstrap_servers(self._settings)) as lag:
            await replaying.settled(watcher, lag)

    async def _prove(
        self, gateway: Gateway, watcher: Watcher, baskets: Selection, visits: list[Visit]
    ) -> tuple[dict[str, Any], list[str]]:
        checked = await proving.checked(gateway)
        mails = await proving.emails(gateway, running.mailbox_url(self._settings))
        every = max(len(baskets) // HELD_AGAINST_MODEL, 1)
        lives = workload.lives(baskets, self._plan)
        held, wrong = await asyncio.to_thread(proving.disagreements, lives, watcher.kept, every=every)
        captured = sum(visit.checkout is not None and visit.checkout["captured"] > 0 for visit in visits)
        marker = self._marker
        facts = {
            "orders": marker.orders,
            "awards": watcher.kinds["award"],
            "revokes": watcher.kinds["revoke"],
            "captures": captured,
            "emails": mails["distinct_ids"],
            "dead_letters": await proving.dead_letters(gateway),
            "sum_of_accounts": checked["sum_of_accounts"],
            "replay_mismatches": checked["replay_mismatches"],
            "seconds": marker.seconds,
            "orders_per_second": round(marker.orders / marker.seconds, 1) if marker.seconds else 0.0,
            "events": marker.events,
            "entries": checked["entries"],
            "entries_seen_downstream": watcher.entries,
            "sequence_gaps": checked["seq_gaps"] + watcher.gaps,
            "chain_breaks": checked["chain_breaks"],
            "book_mismatches": checked["book_mismatches"],
            "orders_held_against_model": held,
            "orders_that_differ_from_model": len(wrong),
        }
        self._facts_file.write_text(json.dumps(facts, indent=2) + "\n")
        faults = [
            f"{name} is {facts[name]}, not 0"
            for name in (
                "dead_letters",
                "sum_of_accounts",
                "replay_mismatches",
                "sequence_gaps",
                "chain_breaks",
                "book_mismatches",
            )
            if facts[name]
        ]
        if watcher.entries != checked["entries"]:
            faults.append(f"{checked['entries']:,} entries in the ledger, {watcher.entries:,} seen downstream")
        return facts, faults + wrong[:5]

    async def _tell_story(self, gateway: Gateway, visits: list[Visit], addresses: dict[str, str]) -> None:
        told = [visit for visit in visits if visit.member in addresses and visit.checkout is not None]
        if not told:
            self._screen.say(self._screen.dim("none of the members with an address had points to use"))
            return
        visit = max(told, key=lambda visit: (visit.checkout or {}).get("returned", 0))
        self._screen.title(f"One member's story: {visit.member}")
        mailbox_url = running.mailbox_url(self._settings)
        await telling.tell(gateway, mailbox_url, visit, addresses[visit.member], self._screen)

    def _show(self, facts: dict[str, Any], faults: list[str]) -> None:
        screen = self._screen
        screen.title("What came of it")
        screen.facts(
            [
                ("orders in", f"{facts['orders']:,} in {facts['events']:,} events"),
                ("awards", f"{facts['awards']:,}"),
                ("revokes", f"{facts['revokes']:,}"),
                ("holds captured", f"{facts['captures']:,}"),
                ("e-mails sent", f"{facts['emails']:,}"),
                ("dead letters", _zero(screen, facts["dead_letters"])),
                ("Σ of all accounts", _zero(screen, facts["sum_of_accounts"])),
                ("replayed ≠ stored", _zero(screen, facts["replay_mismatches"], " accounts")),
                (
                    "entries",
                    f"{facts['entries']:,} in the ledger, {facts['entries_seen_downstream']:,} seen downstream",
                ),
                ("hash chains broken", _zero(screen, facts["chain_breaks"])),
                (
                    "against the model",
                    f"{facts['orders_held_against_model']:,} orders, {facts['orders_that_differ_from_model']} differ",
                ),
                ("time", f"{facts['seconds']:,.1f} s, {facts['orders_per_second']:,.0f} orders/s"),
            ]
        )
        for fault in faults:
            screen.say(screen.bad(fault))
        screen.say()
        screen.say(screen.bad("something does not hold") if faults else screen.good("everything that must hold does"))

    def _say_where(self) -> None:
        screen, settings = self._screen, self._settings
        url = running.gateway_url(settings)
        screen.title("It is all still up")
        screen.facts(
            [
                ("try the API", f"{url}/docs"),
                ("the e-mails", running.mailbox_url(settings)),
                ("a token", "make token SHOP=demo"),
                ("these facts", _short(self._facts_file)),
                ("the shop's file", _short(running.shop_file())),
                ("status, logs", "make status · make logs"),
                ("stop", "make down"),
            ]
        )


def _opened(settings: LocalSettings) -> list[str]:
    started_at = time.monotonic()
    said = running.open_shop(settings).splitlines()
    rules = sum(line.startswith("+ rule") for line in said)
    if rules:
        said = [f"{rules} rules from {_short(running.shop_file())}", said[-1]]
    return [*said, f"({time.monotonic() - started_at:.1f} s)"]


def _zero(screen: Screen, number: int, unit: str = "") -> str:
    return screen.good(f"0{unit}") if number == 0 else screen.bad(f"{number:,}{unit}")


def _short(file: Path) -> str:
    try:
        return str(file.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(file)


if __name__ == "__main__":
    sys.exit(main())
