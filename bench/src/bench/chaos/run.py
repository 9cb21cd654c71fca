"""One campaign: a system, a story, faults, a verdict."""

import asyncio
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import workload
from bench.chaos.faults import REPLICATED, SESSION_SECONDS, Replica, campaign
from bench.chaos.story import SHOP, Story
from bench.chaos.verdict import Verdict, judge
from bench.results import Figure
from bench.shop import DEMO, open_shop
from local.paths import SERVICES
from testkit.system import running_system
from testkit.webhooks import Receiver

LAST_SAID = 30
"""Lines of each service's log that are shown where something is stuck."""


async def run(kills: int, *, seed: int, told: Callable[[str], None] = print) -> tuple[Verdict, list[Figure]]:
    """Hurt a system so many times while a story is told in it."""
    sessions = {f"{name.upper()}_SESSION_TIMEOUT_MS": str(int(SESSION_SECONDS * 1000)) for name in REPLICATED}
    with (
        tempfile.TemporaryDirectory(prefix="accrual-chaos-", ignore_cleanup_errors=True) as folder,
        Receiver() as receiver,
    ):
        Path(folder).chmod(0o711)  # noqa: ASYNC240 - one call before anything runs
        async with running_system(Path(folder), {**sessions, "GATEWAY_REQUESTS_PER_SECOND": "1000000"}) as system:
            await open_shop(system, SHOP, DEMO, hold_minutes=1)
            story = Story(system, workload.load(), seed, hook=receiver.url)
            await story.prepare()
            replicas = [Replica(system, service) for service in REPLICATED]
            started = time.monotonic()
            try:
                for replica in replicas:
                    replica.start()
                stop = asyncio.Event()
                flow = asyncio.create_task(story.flow(stop))
                done = await campaign(
                    system, replicas, kills, random.Random(seed), told, nearly_done=story.leave_nothing
                )
                stop.set()
                await flow
                told("no more faults; waiting for calm")
                verdict = await judge(system, story, receiver, told_again="notifications" in done.put_back)
                for service in SERVICES if verdict.stuck else ():
                    told(
                        f"{service} said last:\n" + "\n".join(system.log(service).read_text().splitlines()[-LAST_SAID:])
                    )
            finally:
                for replica in replicas:
                    replica.stop()
            told(str(verdict))
    return verdict, [
        Figure("faults", done.faults, "faults"),
        Figure("power_losses", done.power_losses, "faults"),
        Figure("databases_put_back", len(done.put_back), "faults"),
        Figure("orders", verdict.orders, "orders"),
        Figure("events", verdict.events, "events"),
        Figure("checkouts", verdict.checkouts, "checkouts"),
        Figure("expired", verdict.expired, "checkouts"),
        Figure("spends", verdict.spends, "spends"),
        Figure("entries", verdict.entries, "entries"),
        Figure("merges", verdict.merges, "merges"),
        Figure("messages", verdict.messages, "messages"),
        Figure("webhooks", verdict.webhooks, "messages"),
        Figure("lost", len(verdict.lost), "findings"),
        Figure("duplicated", len(verdict.duplicated), "findings"),
        Figure("stuck", len(verdict.stuck), "findings"),
        Figure("seconds", round(time.monotonic() - started), "s"),
    ]
