"""What the ledger tells of our holds and spends, so that a checkout's answer is what has really happened."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from chassis import Outcome, Transaction
from redemption.alarms import alarm
from redemption.domain.checkout import State, after_entry
from redemption.store import entries as store
from redemption.store.entries import Done, Standing


@dataclass(frozen=True, slots=True)
class FollowEntry:
    """An entry of the ledger about a hold or a spend of ours."""

    shop: str
    kind: str
    posting: str
    hold: str | None
    epoch: int
    seq: int
    debited: int
    shortfall: int


@dataclass(frozen=True, slots=True)
class FollowRefusal:
    """The ledger has refused a spend or a return of ours."""

    shop: str
    posting: str
    code: str
    detail: str


async def follow(tx: Transaction, commands: Sequence[FollowEntry | FollowRefusal]) -> Outcome:
    """Note what became of holds and spends; entries that were told before change nothing."""
    entries = [command for command in commands if isinstance(command, FollowEntry)]
    done: dict[tuple[str, str, int], Done] = {}
    for command in commands:
        spend = _spend(command)
        if spend is not None:
            _note(command, done.setdefault(spend, Done(*spend)))
    if done:
        await store.save_done(tx, [done[key] for key in sorted(done)])
    await _follow_holds(tx, entries)
    return Outcome()


async def _follow_holds(tx: Transaction, entries: Sequence[FollowEntry]) -> None:
    """Move checkouts along. A late spend names no open hold, so the spend's own is looked up."""
    late = [spend for entry in entries if entry.kind == "spend" and (spend := _spend(entry))]
    behind = await store.holds_of_spends(tx, late) if late else {}
    about: list[tuple[UUID, FollowEntry]] = []
    for entry in entries:
        spend = _spend(entry)
        hold = _uuid(entry.hold) or (behind.get(spend) if spend and entry.kind == "spend" else None)
        if hold is not None:
            about.append((hold, entry))
    if not about:
        return
    standings = await store.lock_by_holds(tx, {hold for hold, _ in about})
    changed: dict[UUID, Standing] = {}
    for hold, entry in about:
        standing = standings.get(hold)
        if standing is None or entry.epoch < standing.epoch:
            continue
        # Within an epoch not by numbers: a hold whose member was merged ends in another account, which numbers anew.
        state = after_entry(standing.state, entry.kind)
        if state is standing.state:
            continue
        was_over = standing.state in (State.RELEASED, State.EXPIRED)
        late_now = was_over and state is State.CAPTURED
        if late_now:
            alarm("paid_after_the_hold_had_ended", shop=entry.shop, posting=entry.posting, shortfall=entry.shortfall)
        standings[hold] = changed[hold] = replace(
            standing, state=state, is_late=standing.is_late or late_now, epoch=entry.epoch, seq=entry.seq
        )
    if changed:
        await store.save_standings(tx, list(changed.values()))


def _note(command: FollowEntry | FollowRefusal, done: Done) -> None:
    if isinstance(command, FollowRefusal):
        done.refusal = json.dumps({"posting": command.posting, "code": command.code, "detail": command.detail})
        alarm("posting_refused", shop=command.shop, posting=command.posting, code=command.code, detail=command.detail)
    elif command.kind == "spend":
        done.debited = command.debited
        done.shortfall = max(done.shortfall, command.shortfall)
    elif command.kind == "give_back":
        done.returned = max(done.returned, int(command.posting.rsplit("/", 1)[1]))


def _spend(command: FollowEntry | FollowRefusal) -> tuple[str, str, int] | None:
    """The spend that a posting of ours is about, by its key: `name/generation/spend` or `…/give_back/total`."""
    match command.posting.split("/"):
        case [name, generation, "spend"] | [name, generation, "give_back", _] if generation.isdecimal():
            return (command.shop, name, int(generation))
    return None


def _uuid(text: str | None) -> UUID | None:
    """Holds of ours are UUIDs; others are none of our business."""
    try:
        return UUID(text) if text else None
    except ValueError:
        return None
