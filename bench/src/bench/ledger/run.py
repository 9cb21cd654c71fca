"""All figures of the ledger alone, each on databases of its own in one server."""

from bench.ledger import grown, postings, upkeep, verification
from bench.results import Figure
from testkit.system import System

MEMBERS = 200_000
OPERATIONS = 2_000_000
ENTRIES = 10_000_000


async def measure(
    system: System, *, members: int = MEMBERS, operations: int = OPERATIONS, entries: int = ENTRIES
) -> list[Figure]:
    """Postings in batches, what falls due, what an auditor does, and the ledger when it has grown.

    Smaller numbers are for a quick look.
    """
    figures = await postings.measure(system, members=members, operations=operations)
    figures += await upkeep.measure(system, members=members // 2)
    figures += await verification.measure(system)
    figures += await grown.measure(system, members=members, entries=entries)
    return figures
