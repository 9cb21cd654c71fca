"""The list of routes, read as the gateway reads it."""

import pytest

from gateway.routes import routes, service_of, services


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/v1/shops/demo/members/m-1/balances", "ledger"),
        ("/v1/shops/demo/members/m-1/entries", "ledger"),
        ("/v1/shops/demo/members/m-1/proof", "ledger"),
        ("/v1/shops/demo/ledger/export", "ledger"),
        ("/v1/shops/demo/members/m-1/entries.csv", "ledger"),
        ("/v1/shops/demo/entries.csv", "ledger"),
        ("/v1/shops/demo/imports", "ledger"),
        ("/v1/shops/demo/imports/i-1/errors", "ledger"),
        ("/v1/shops/demo/imports/i-1/cancel", "ledger"),
        ("/v1/shops/demo/postings", "ledger"),
        ("/v1/shops/demo/holds/h-1/capture", "ledger"),
        ("/v1/shops/demo/ledger/dead-letters/7/replay", "ledger"),
        ("/v1/shops/demo/orders/o-1/earnings", "rules"),
        ("/v1/shops/demo/rules/double", "rules"),
        ("/v1/shops/demo/checkouts", "redemption"),
        ("/v1/shops/demo/checkouts/quote", "redemption"),
        ("/v1/shops/demo/members/m-1/messages", "notifications"),
    ],
)
def test_a_path_has_one_answerer(path: str, service: str) -> None:
    assert service_of(path) == service


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/metrics",
        "/ready",
        "/v1/shops/demo",
        "/v1/shops//postings",
        "/v1/shops/demo/members/m-1/balances/more",
        "/v1/shops/demo/postingsx",
        "/v1/shops/demo/entriesxcsv",
        "/v1/shops/a/b/postings",
        "/v2/shops/demo/postings",
    ],
)
def test_nobody_answers_what_is_not_listed(path: str) -> None:
    assert service_of(path) is None


def test_no_route_is_listed_twice() -> None:
    patterns = [route.pattern for route in routes()]
    assert len(patterns) == len(set(patterns))
    assert set(services()) == {"ledger", "rules", "redemption", "notifications"}


def test_only_files_are_streamed() -> None:
    prefix = "/v1/shops/{shop}/"
    assert {route.path.removeprefix(prefix) for route in routes() if route.streams} == {
        "imports",
        "imports/{import}/errors",
        "entries.csv",
        "members/{member}/entries.csv",
        "ledger/export",
    }
