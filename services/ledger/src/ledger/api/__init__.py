"""The ledger over HTTP, a file for each noun: parse, use case, answer."""

from ledger.api import balances, checks, holds, memos, postings, statement
from ledger.api.desk import Desk
from ledger.api.statuses import STATUSES

ROUTERS = [postings.router, holds.router, balances.router, statement.router, memos.router, checks.router]

__all__ = ["ROUTERS", "STATUSES", "Desk"]
