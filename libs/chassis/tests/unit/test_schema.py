"""The schema that this code was written for, as its file names and Alembic have it."""

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from chassis import schema
from local.paths import ROOT, SERVICES
from testkit.probe import MIGRATIONS

FOLDERS = [MIGRATIONS, *(ROOT / "services" / service / "migrations" for service in SERVICES)]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_the_newest_migration_is_the_same_by_name_as_for_alembic(folder: Path) -> None:
    assert schema.newest(folder) == ScriptDirectory(str(folder)).get_current_head()


@pytest.mark.parametrize("service", SERVICES)
def test_only_who_migrates_loads_alembic(service: str) -> None:
    loaded = f"import sys, {service}.app; print('alembic' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"
