"""Alembic's entry; the chassis does the rest."""

from chassis.migrations import run

run()
