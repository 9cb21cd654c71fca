"""The faults: who is hurt, how, and when the next one comes."""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import psutil

from bench.chaos import keepers
from contracts import topics
from local import child
from local import system as parts
from testkit import power, wait_until
from testkit.system import System

SESSION_SECONDS: Final = 6.0
"""Time-out of the consumers' sessions in a campaign; the least that Kafka allows: zombies need not sleep long."""

KILLS: Final = {
    "rules": 4,
    "ledger": 5,
    "redemption": 3,
    "notifications": 2,
    "kafka": 2,
    "postgres": 2,
    "gateway": 1,
}
"""Parts that are killed, and how often one is next to the others."""

REPLICATED: Final = ("rules", "ledger")
"""Services that run a second worker, so that what a frozen one holds is taken from it."""

GENTLE: Final = 0.25
"""Share of parts that are told to end, as if a new version of them were put in their place, instead of being killed."""

EVERY_NTH_FREEZES: Final = 10

EVERY_NTH_IS_A_KEEPERS: Final = 10

EVERY_NTH_LOSES_POWER: Final = 15
"""Each costs a start of Kafka after an unclean end, and two minutes of events sent again."""

EVERY_NTH_IS_PUT_BACK: Final = 30
COPIED_THEN_PUT_BACK: Final = (12, 21)
"""Of so many faults, the one that copies a database and the one that puts it back: some twenty seconds in between."""

LOST_WITH_POWER: Final = (topics.PROGRAMMES.name, topics.POSTINGS.name, topics.LEDGER.name, topics.SEALS.name)
"""Topics of our own. What a shop's platform sent and nobody has read is its own to send again."""

UNWRITTEN_SECONDS: Final = 30.0
"""A system writes what it has in memory after so long."""

LAST_FAULTS: Final = 20
"""They take a minute or more."""

PAUSE_SECONDS: Final = (0.2, 2.5)
"""Between two faults: some hit a part that has not come back from the last one."""


@dataclass
class Done:
    """What was done."""

    faults: int = 0
    power_losses: int = 0
    """Of them."""
    put_back: list[str] = field(default_factory=list)
    """Services whose databases were put back, one after the other."""
    copy_of: str | None = None
    """The service whose database was copied last, until it is put back."""


@dataclass
class Replica:
    """A second worker of a service, which the campaign itself starts and starts again."""

    system: System
    service: str
    restarts: int = 0
    _process: "subprocess.Popen[bytes] | None" = None
    _port: int = field(default_factory=child.free_port)

    def start(self) -> None:
        """Start it, or start it again."""
        name = self.service.upper()
        environment = {
            **parts.service_environment(self.system.settings, self.service),
            f"{name}_HTTP_PORT": str(self._port),
            f"{name}_INSTANCE": f"{self.service}-second",
            f"{name}_SESSION_TIMEOUT_MS": str(int(SESSION_SECONDS * 1000)),
        }
        command = child.Command(
            name=self.service, argv=[sys.executable, "-m", self.service, "worker"], environment=environment
        )
        with self.system.log(f"{self.service}-second").open("ab") as output:
            self._process = child.spawn(command, log=output)
        self.restarts += 1

    def kill(self) -> None:
        """End it as a crash would, and start it again."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.start()

    def stop(self) -> None:
        """End it for good."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)


async def campaign(
    system: System,
    replicas: list[Replica],
    kills: int,
    chance: random.Random,
    told: Callable[[str], None],
    nearly_done: Callable[[], None],
) -> Done:
    """Hurt the system so many times. `nearly_done` is called when few are left."""
    done = Done()
    while done.faults < kills:
        faults = done.faults
        if faults == max(0, kills - LAST_FAULTS):
            nearly_done()
        await asyncio.sleep(chance.uniform(*PAUSE_SECONDS))
        if faults % EVERY_NTH_FREEZES == EVERY_NTH_FREEZES - 1:
            name = await _freeze(system, chance)
        elif faults % EVERY_NTH_LOSES_POWER == EVERY_NTH_LOSES_POWER // 2:
            name = await _lose_power(system, chance)
            done.power_losses += name is not None
        elif faults % EVERY_NTH_IS_PUT_BACK in COPIED_THEN_PUT_BACK:
            name = await _copy_or_put_back(system, replicas, done)
        elif faults % EVERY_NTH_IS_A_KEEPERS == EVERY_NTH_IS_A_KEEPERS // 2:
            name = await keepers.keep_out(system, chance)
        else:
            name = _kill(system, replicas, chance)
        if name is not None:
            done.faults += 1
            told(f"fault {done.faults} of {kills}: {name}")
    return done


async def _copy_or_put_back(system: System, replicas: list[Replica], done: Done) -> str:
    """A service's database goes back to where it was some faults ago, and everything else has gone on."""
    service = done.copy_of
    if service is None:
        done.copy_of = service = keepers.PUT_BACK[len(done.put_back) % len(keepers.PUT_BACK)]
        return await keepers.copy(system, service)
    name = await keepers.put_back(system, service)
    for replica in replicas:
        if replica.service == service:
            replica.kill()
    done.copy_of = None
    done.put_back.append(service)
    return name


def _kill(system: System, replicas: list[Replica], chance: random.Random) -> str | None:
    part = chance.choices(list(KILLS), weights=list(KILLS.values()))[0]
    replica = next((r for r in replicas if r.service == part), None)
    if replica is not None and chance.random() < 0.3:
        replica.kill()
        return f"kill -9 of the second {part}"
    gently = chance.random() < GENTLE
    try:
        if gently:
            system.end(part)
        else:
            system.kill(part)
    except (LookupError, psutil.NoSuchProcess):
        return None  # not back yet from the last one
    return f"{part} told to end" if gently else f"kill -9 of {part}"


async def _freeze(system: System, chance: random.Random) -> str | None:
    """A worker stops in its tracks for longer than its session lasts, and wakes up believing that nothing happened."""
    part = chance.choice(REPLICATED)
    try:
        process = system.pause(part)
    except (LookupError, psutil.NoSuchProcess):
        return None
    try:
        await asyncio.sleep(SESSION_SECONDS + 1.5)
    finally:
        if process.is_running():
            process.resume()
    return f"{part} frozen beyond its session"


async def _lose_power(system: System, chance: random.Random) -> str | None:
    """Kafka ends, and with it goes a part of what it had acknowledged and its system not written yet."""
    try:
        kafka = system.process("kafka")
        supervisor = kafka.parent()
        assert supervisor is not None
        supervisor.suspend()  # or it starts the broker while its files are being cut
    except (LookupError, psutil.NoSuchProcess):
        return None
    try:
        kafka.kill()
        # Nobody else may ask for its end: whoever started it is halted.
        await wait_until(lambda: kafka.status() == psutil.STATUS_ZOMBIE, what="Kafka to end")
        unwritten_ms = 1000 * (time.time() - UNWRITTEN_SECONDS)
        lost = 0
        for topic in LOST_WITH_POWER:
            for segment in (parts.kafka(system.settings).folder / "data").glob(f"{topic}-*/*.log"):
                batches = power.batches(segment)
                unwritten = sum(batch.latest_ms > unwritten_ms for batch in batches)
                gone = chance.randint(0, unwritten)
                power.cut_off(segment, len(batches) - gone)
                lost += gone
    finally:
        supervisor.resume()
    return f"Kafka lost its power, and {lost} batches"
