"""A ledger whose log is sealed in this process, and what tests ask of its seals."""

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ledger.sealing import Sealer
from ledger.settings import LedgerSettings

from .conftest import Ledger


def key_file(folder: Path, name: str = "key") -> Path:
    """A new signing key in a file of its own."""
    file = folder / f"{name}.pem"
    made = Ed25519PrivateKey.generate()
    file.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return file


@dataclass
class Seals:
    """The seals of a ledger under test: its key, its folder."""

    ledger: Ledger
    folder: Path
    """Where seals lie outside the database."""
    key: Path
    changes: dict[str, Any] = field(default_factory=dict)

    def settings(self, **changes: Any) -> LedgerSettings:
        """What the ledger's sealer is told."""
        settings = self.ledger.runtime.service.settings
        told = {"seal_key_file": self.key, "seal_folder": self.folder, **self.changes, **changes}
        return LedgerSettings(**{**settings.model_dump(), **told})

    async def other_shops(self, members: int) -> None:
        """Two more shops, with one award for each of their members."""
        for shop in ("other", "third"):
            await self.ledger.learn(shop)
            effect = {"kind": "award", "amount": 1}
            postings = [{"key": self.ledger.key(), "member": f"m-{n}", "effect": effect} for n in range(members)]
            response = await self.ledger.http.post(f"/v1/shops/{shop}/postings", json={"postings": postings})
            assert {outcome["outcome"] for outcome in response.json()["outcomes"]} == {"posted"}, response.text

    async def run(self, **changes: Any) -> None:
        """One run of the job, in a process that has just begun."""
        await Sealer(self.settings(**changes)).run(self.ledger.runtime.database, asyncio.Event())

    async def stored(self) -> list[asyncpg.Record]:
        """All seals, in order within a lane."""
        return await self.ledger.sql("SELECT * FROM seal ORDER BY lane, number")

    def told(self) -> list[dict[str, Any]]:
        """All whole lines of the files, in the order of the files' names."""
        files = sorted(self.folder.glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_bytes().splitlines() if line.endswith(b"}")]

    async def as_owner(self, statement: str, *arguments: Any) -> str:
        """What whoever owns the database can do to it."""
        connection = await asyncpg.connect(self.ledger.database.migration_url)
        try:
            return str(await connection.execute(statement, *arguments))
        finally:
            await connection.close()
