"""The ledger over HTTP, a file for each noun: parse, use case, answer."""

from ledger.api import balances, checks, export, holds, memos, postings, proofs, proposals, statement
from ledger.api.desk import Desk
from ledger.api.statuses import STATUSES

ROUTERS = [room.router for room in (postings, holds, balances, statement, proofs, memos, proposals, checks, export)]

__all__ = ["ROUTERS", "STATUSES", "Desk"]
