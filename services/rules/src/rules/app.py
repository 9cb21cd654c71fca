"""The composition root: what rules listens to and answers, on one page."""

from pathlib import Path

from chassis import Service
from rules import api, consumers
from rules.settings import RulesSettings
from rules.usecases.configuring import tell_programmes

MIGRATIONS = Path(__file__).parents[2] / "migrations"


def build(settings: RulesSettings | None = None) -> Service:
    """The service; without settings given they are read from the environment."""
    return Service(
        name="rules",
        settings=settings or RulesSettings(),
        title="Rules",
        description="What orders earn: programmes, rules and their versions, and each order's earnings explained.",
        migrations=MIGRATIONS,
        routes=[api.router],
        consumers=[consumers.ORDERS, consumers.PROGRAMMES],
        problems=api.PROBLEMS,
        present=tell_programmes,
    )
