"""Alembic's entry for the database of notifications."""

from chassis.migrations import run

run()
