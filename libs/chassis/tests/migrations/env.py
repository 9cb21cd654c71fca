"""Alembic's entry for the tables that the chassis keeps in each service's database."""

from chassis.migrations import run

run()
