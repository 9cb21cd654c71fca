"""The ledger over HTTP, a file for each noun: parse, use case, answer."""

from ledger.api import (
    balances,
    checks,
    export,
    gifts,
    holds,
    imports,
    members,
    memos,
    merges,
    movements,
    postings,
    proofs,
    proposals,
    statement,
)
from ledger.api.desk import Desk
from ledger.api.statuses import STATUSES

ROUTERS = [
    room.router
    for room in (
        postings, holds, balances, statement, movements, members, gifts, merges, proofs, memos, proposals, checks,
        export, imports,
    )
]  # fmt: skip

__all__ = ["ROUTERS", "STATUSES", "Desk"]
