"""Alembic's entry for the database of rules."""

from chassis.migrations import run

run()
