"""What can be erased: operators' words. The history holds a salted commitment to them, whose salt goes too."""

from collections.abc import Sequence
from dataclasses import dataclass

from chassis import Outcome, Transaction
from ledger.store import memos


@dataclass(frozen=True, slots=True)
class EraseMemo:
    """Erase the memo of a posting, refused or not."""

    shop: str
    source: str
    key: str


async def erase_memos(tx: Transaction, asked: Sequence[EraseMemo]) -> Outcome:
    """Whether there is such a posting, for each; whether it had a memo (left) makes no difference."""
    return Outcome(answers=[await memos.erase(tx.driver, one.shop, one.source, one.key) for one in asked])
