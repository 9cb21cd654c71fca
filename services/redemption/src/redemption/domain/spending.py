"""What a paid order should have taken of its member's points, less what is booked: states in, postings out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID, uuid5

_NAMES: Final = UUID("8f0f3c1e-7d0b-5c55-9a57-2f5f6b1f4c11")
"""Namespace of the names of spends that no checkout names; fixed, so that a second reckoning finds the same names."""


@dataclass(frozen=True, slots=True)
class Held:
    """What redemption knows of the checkout that a points tender names."""

    checkout: str
    hold: str
    member: str
    points: int


@dataclass(frozen=True, slots=True)
class Part:
    """What one points tender of an order's newest state should take."""

    claim: str
    """The checkout that the tender names; empty when it names none."""
    member: str
    points: int
    name: str | None = None
    """The checkout's name where this order is the first that named it; the ledger knows the first spend by it."""
    hold: str | None = None
    difference: int = 0
    """Tender less hold: recorded, never taken."""


@dataclass(frozen=True, slots=True)
class Spend:
    """Points debited for an order, and what of them has been given back so far."""

    name: str
    generation: int
    claim: str
    member: str
    points: int
    given_back: int = 0
    hold: str | None = None

    @property
    def used(self) -> int:
        return self.points - self.given_back


@dataclass(frozen=True, slots=True)
class GiveBack:
    """A spend whose total to give back rises."""

    spend: Spend
    """The spend with its new total."""


Ask = Spend | GiveBack
"""One posting to ask of the ledger."""


def part(claim: str, points: int, member: str | None, held: Held | None, *, mine: bool) -> Part | None:
    """What a points tender should take: of the member who held the points, else of the order's; nobody pays for nobody.

    Tender and hold differ: the smaller is taken and the difference recorded. A checkout that another order named
    first lends neither its hold nor its name.
    """
    payer = member if held is None else held.member
    if payer is None:
        return None
    if not mine:
        return Part(claim=claim, member=payer, points=points)
    if held is None:
        return Part(claim=claim, member=payer, points=points, name=claim or None)
    return Part(
        claim=claim,
        member=payer,
        points=min(points, held.points),
        name=claim,
        hold=held.hold,
        difference=points - held.points,
    )


def settle(
    order: str, generation: int, parts: Sequence[Part], returned: int, spends: Sequence[Spend]
) -> tuple[Ask, ...]:
    """The postings that bring the booked spends of an order to what its newest state wants.

    `parts` are what the state's tenders should have taken in this generation (none when it is unpaid or cancelled),
    `returned` is what its refunds have given back of them in all. Nothing depends on how the booked spends came
    about: the points used afterwards are always the parts' points less what is returned. Totals never fall; what a
    later state takes again is a spend of its own. What comes back of booked spends is asked first, so that it is there
    for what is spent next.
    """
    new: list[Spend] = []
    raised: list[GiveBack] = []
    taken = {spend.name for spend in spends if spend.generation == generation}
    wanted = {(wanted_part.claim, wanted_part.member) for wanted_part in parts}
    for spend in spends:
        current = spend.generation == generation and (spend.claim, spend.member) in wanted
        if not current and spend.used:
            raised.append(GiveBack(replace(spend, given_back=spend.points)))
    for wanted_part, back in zip(parts, _returns(parts, returned), strict=True):
        booked = [
            spend
            for spend in spends
            if spend.generation == generation and (spend.claim, spend.member) == (wanted_part.claim, wanted_part.member)
        ]
        extra, total_back = _missing(wanted_part.points, back, booked)
        if extra:
            name = wanted_part.name
            if name is None or name in taken:
                name = _name(order, wanted_part.claim, wanted_part.member, len(booked))
            taken.add(name)
            fresh = Spend(
                name=name,
                generation=generation,
                claim=wanted_part.claim,
                member=wanted_part.member,
                points=extra,
                hold=wanted_part.hold if not booked else None,
            )
            new.append(fresh)
            booked.append(fresh)
        raised.extend(_raise(booked, total_back))
    fresh_names = {spend.name for spend in new}
    at_once = [ask for ask in raised if ask.spend.generation != generation or ask.spend.name not in fresh_names]
    afterwards = [ask for ask in raised if ask not in at_once]
    return (*at_once, *new, *afterwards)


def _missing(points: int, back: int, booked: Sequence[Spend]) -> tuple[int, int]:
    """Points to spend anew, and the total to be given back of all of the part's spends afterwards."""
    spent = sum(spend.points for spend in booked)
    given_back = sum(spend.given_back for spend in booked)
    extra = max(0, points - spent)
    total_back = spent + extra - (points - back)
    if total_back < given_back:
        extra += given_back - total_back
        total_back = given_back
    return extra, total_back


def _raise(booked: Sequence[Spend], total_back: int) -> list[GiveBack]:
    """The newest spends give back first; each spend whose total rises, with its new total."""
    to_give = total_back - sum(spend.given_back for spend in booked)
    raised = []
    for spend in reversed(booked):
        share = min(to_give, spend.used)
        if share:
            raised.append(GiveBack(replace(spend, given_back=spend.given_back + share)))
            to_give -= share
    return raised


def _returns(parts: Sequence[Part], returned: int) -> list[int]:
    """What comes back of each part: the last tender first, so that a rising total never falls for any of them."""
    shares = []
    for wanted_part in reversed(parts):
        share = min(returned, wanted_part.points)
        shares.append(share)
        returned -= share
    return shares[::-1]


def _name(order: str, claim: str, member: str, ordinal: int) -> str:
    """A name of its own for a spend that cannot go by its checkout's."""
    return str(uuid5(_NAMES, f"{order}/{claim}/{member}/{ordinal}"))
