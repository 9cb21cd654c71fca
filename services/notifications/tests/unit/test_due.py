"""What an entry has to tell, and over which channels."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.ledger import Buckets, EntryCause, LotChange, PointsChanged
from notifications.domain import (
    Channel,
    Endpoint,
    Entry,
    Occurrence,
    Recipient,
    Route,
    Scenario,
    Settings,
    Silence,
    due,
    occurrence,
    of_one_order,
    scenario_of,
)

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)
REACHABLE = Recipient(reachable=True)
EMAIL = Route(Channel.EMAIL)


def entry(kind: str, *, change: Buckets, **more: Any) -> Entry:
    standard: dict[str, Any] = {
        "balances": Buckets(available=100, pending=5, held=3, debt=-2),
        "order": "10042",
        "source": "rules",
        "posting": "p-7",
        "seq": 7,
    }
    return PointsChanged(
        shop="corner",
        member="m-1",
        account="a-1",
        epoch=1,
        entry="e-7",
        kind=kind,
        at=NOW,
        recorded_at=NOW,
        system={},
        hash="7f",
        changes=change,
        **(standard | more),
    )


def occurred(entry: Entry) -> Occurrence:
    scenario = scenario_of(entry)
    assert scenario is not None
    return occurrence(entry, scenario)


def told(kind: str, **change: int) -> tuple[Scenario, int, int]:
    event = occurred(entry(kind, change=Buckets(**change)))
    return event.scenario, event.facts.points, event.facts.change


@pytest.mark.parametrize(("cause", "activates_at"), [(EntryCause(), NOW), (EntryCause(activates_on="fulfilled"), None)])
def test_of_points_that_wait_for_an_event_no_day_is_named(cause: EntryCause, activates_at: datetime | None) -> None:
    opened = LotChange(lot="7", change=30, remaining=30, activates_at=NOW)
    event = occurred(entry("award", change=Buckets(pending=30), lots=(opened,), cause=cause))
    assert (event.scenario, event.facts.activates_at) == (Scenario.POINTS_PENDING, activates_at)


def test_of_one_order_all_points_are_told_with_the_last_balance_and_what_they_have_in_common() -> None:
    def award(seq: int, points: int, rule: str, days: int | None) -> Occurrence:
        ends = None if days is None else NOW + timedelta(days=days)
        lot = LotChange(lot=str(seq), change=points, remaining=points, activates_at=NOW, expires_at=ends)
        balances = Buckets(available=100 + seq)
        cause = EntryCause(rule=rule, rule_version=1)
        change = Buckets(available=points)
        return occurred(entry("award", change=change, seq=seq, balances=balances, cause=cause, lots=(lot,)))

    awards = [award(7, 30, "base", 365), award(8, 5, "organic", None), award(9, 12, "bananas", 180)]
    together = of_one_order(awards)
    facts = together.facts
    assert (together.key, together.scenario) == ("a-1:1:7-9", Scenario.POINTS_EARNED)
    assert (facts.points, facts.change, facts.available, facts.order, facts.rule) == (47, 47, 109, "10042", None)
    assert facts.expires_at == NOW + timedelta(days=180)
    assert of_one_order([awards[0], award(8, 5, "base", 365)]).facts.rule == "base"


def test_of_one_order_what_is_pending_can_be_used_from_the_last_day_on() -> None:
    def award(seq: int, days: int, activates_on: str | None = None) -> Occurrence:
        lot = LotChange(lot=str(seq), change=5, remaining=5, activates_at=NOW + timedelta(days=days))
        cause = EntryCause(activates_on=activates_on)
        return occurred(entry("award", change=Buckets(pending=5), seq=seq, cause=cause, lots=(lot,)))

    assert of_one_order([award(7, 14), award(8, 3)]).facts.activates_at == NOW + timedelta(days=14)
    assert of_one_order([award(7, 14), award(8, 0, "fulfilled")]).facts.activates_at is None


@pytest.mark.parametrize(
    ("kind", "change", "expected"),
    [
        ("award", {"available": 30}, (Scenario.POINTS_EARNED, 30, 30)),
        ("award", {"available": 10, "debt": 20}, (Scenario.POINTS_EARNED, 30, 30)),
        ("award", {"pending": 30}, (Scenario.POINTS_PENDING, 30, 30)),
        ("activate", {"pending": -30, "available": 30}, (Scenario.POINTS_ACTIVATED, 30, 30)),
        ("activate", {"pending": -30, "available": 20, "debt": 10}, (Scenario.POINTS_ACTIVATED, 30, 30)),
        ("capture", {"held": -40}, (Scenario.POINTS_USED, 40, -40)),
        ("spend", {"available": -70, "debt": -30}, (Scenario.POINTS_USED, 100, -100)),
        ("give_back", {"available": 25}, (Scenario.POINTS_RETURNED, 25, 25)),
        ("credit", {"available": 5}, (Scenario.POINTS_ADJUSTED, 5, 5)),
        ("debit", {"available": -5}, (Scenario.POINTS_ADJUSTED, 5, -5)),
        ("gift_out", {"available": -5}, (Scenario.POINTS_GIVEN, 5, -5)),
        ("gift_in", {"available": 2, "debt": 3}, (Scenario.POINTS_RECEIVED, 5, 5)),
        ("revoke", {"pending": -50}, (Scenario.POINTS_REVOKED, 50, -50)),
        ("expire", {"available": -80}, (Scenario.POINTS_EXPIRED, 80, -80)),
    ],
)
def test_each_kind_of_entry_tells_its_own(
    kind: str, change: dict[str, int], expected: tuple[Scenario, int, int]
) -> None:
    assert told(kind, **change) == expected


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("hold", {"available": -10, "held": 10}),
        ("release", {"available": 10, "held": -10}),
        ("transfer", {"available": 10}),
        ("freeze", {}),
        ("unfreeze", {}),
        ("merge_out", {"available": -10}),
        ("merge_in", {"available": 10}),
        ("unmerge_out", {"available": -10}),
        ("unmerge_in", {"available": 10, "pending": 5}),
        ("revoke", {}),
        ("spend", {}),
    ],
)
def test_what_is_no_members_business_is_not_told(kind: str, change: dict[str, int]) -> None:
    assert scenario_of(entry(kind, change=Buckets(**change))) is None


@pytest.mark.parametrize(
    ("source", "posting", "expected"),
    [
        ("import", "opening/8f3a/2", None),
        ("import", "credit/8f3a/2", Scenario.POINTS_ADJUSTED),
        ("shop", "opening/8f3a/2", Scenario.POINTS_ADJUSTED),
    ],
)
def test_a_balance_that_comes_from_another_system_is_no_news(
    source: str, posting: str, expected: Scenario | None
) -> None:
    assert scenario_of(entry("credit", change=Buckets(available=5), source=source, posting=posting)) is expected


def test_facts_are_the_balances_after_the_entry_and_the_earliest_end_of_what_it_opened() -> None:
    lots = tuple(
        LotChange(lot=f"l-{number}", change=change, remaining=abs(change), activates_at=NOW, expires_at=ends)
        for number, (change, ends) in enumerate(
            [(20, NOW + timedelta(days=9)), (10, NOW + timedelta(days=8)), (5, None), (-5, NOW + timedelta(days=1))]
        )
    )
    facts = occurred(entry("award", change=Buckets(available=30), lots=lots)).facts
    assert (facts.available, facts.pending, facts.held, facts.owed) == (100, 5, 3, 2)
    assert (facts.order, facts.expires_at, facts.activates_at) == ("10042", NOW + timedelta(days=8), None)


def test_the_key_is_the_entrys_place_in_its_account() -> None:
    assert occurred(entry("award", change=Buckets(available=1))).key == "a-1:1:7"


def earned(at: datetime = NOW, **more: Any) -> tuple[list[Route], list[Silence]]:
    return due(Scenario.POINTS_EARNED, at, now=NOW, **more)


def test_an_email_is_due_to_whom_it_can_reach() -> None:
    assert earned(settings=Settings("corner"), recipient=REACHABLE) == ([EMAIL], [])
    assert earned(settings=Settings("corner"), recipient=Recipient()) == ([], [Silence.NO_CONTACT])


def test_every_endpoint_that_asked_for_the_scenario_is_called() -> None:
    endpoints = [
        Endpoint("all"),
        Endpoint("asked", frozenset({Scenario.POINTS_EARNED})),
        Endpoint("other", frozenset({Scenario.POINTS_USED})),
        Endpoint("off", enabled=False),
    ]
    routes, _ = earned(settings=Settings("corner"), recipient=Recipient(), endpoints=endpoints)
    assert routes == [Route(Channel.WEBHOOK, "all"), Route(Channel.WEBHOOK, "asked")]


def test_a_scenario_is_switched_off_channel_by_channel() -> None:
    settings = Settings("corner", switches={(Scenario.POINTS_EARNED, Channel.EMAIL): False})
    routes, silences = earned(settings=settings, recipient=REACHABLE, endpoints=[Endpoint("all")])
    assert (routes, silences) == ([Route(Channel.WEBHOOK, "all")], [Silence.SWITCHED_OFF])
    settings = Settings("corner", switches={(Scenario.POINTS_EARNED, Channel.WEBHOOK): False})
    routes, silences = earned(settings=settings, recipient=REACHABLE, endpoints=[Endpoint("all")])
    assert (routes, silences) == ([EMAIL], [])


@pytest.mark.parametrize(
    "recipient",
    [Recipient(reachable=True, email_on=False), Recipient(reachable=True, muted=frozenset({Scenario.POINTS_EARNED}))],
)
def test_a_member_who_does_not_want_an_email_gets_none(recipient: Recipient) -> None:
    assert earned(settings=Settings("corner"), recipient=recipient) == ([], [Silence.OPTED_OUT])


def test_a_programme_that_is_off_is_silent() -> None:
    settings = Settings("corner", on=False)
    routes, silences = earned(settings=settings, recipient=REACHABLE, endpoints=[Endpoint("all")])
    assert (routes, silences) == ([], [Silence.PROGRAMME_OFF])


def test_old_news_is_not_told() -> None:
    settings = Settings("corner", stale_after=timedelta(hours=1))
    hour, longer = timedelta(hours=1), timedelta(hours=1, microseconds=1)
    assert earned(NOW - hour, settings=settings, recipient=REACHABLE) == ([EMAIL], [])
    assert earned(NOW - longer, settings=settings, recipient=REACHABLE) == ([], [Silence.STALE])


@given(
    st.sampled_from(
        ["award", "activate", "expire", "revoke", "capture", "spend", "give_back", "credit", "debit", "hold", "new"]
    ),
    st.integers(-(10**13), 10**13),
    st.integers(-(10**13), 10**13),
    st.integers(-(10**13), 10**13),
    st.integers(-(10**13), 10**13),
)
def test_points_are_never_negative_nor_zero(kind: str, available: int, pending: int, held: int, debt: int) -> None:
    changes = Buckets(available=available, pending=pending, held=held, debt=debt)
    event = entry(kind, change=changes)
    if scenario_of(event) is not None:
        facts = occurred(event).facts
        assert facts.points > 0
        assert abs(facts.change) == facts.points
