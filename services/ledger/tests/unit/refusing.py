"""What a refusal is in these tests: an outcome, and nothing else that has changed."""

from ledger.domain import Result


def unchanged(shelf, ask):
    """The outcome of what is refused; asserts that nothing moved, no lot, hold or spend came to be."""

    def books():
        return (
            shelf.buckets(),
            dict(shelf.system),
            len(shelf.entries()),
            {key: lot.remaining for key, lot in shelf.lots.items()},
            {key: hold.state for key, hold in shelf.holds.items()},
            {key: spend.given_back for key, spend in shelf.spends.items()},
        )

    before = books()
    outcome = ask()
    assert books() == before
    return outcome


def refused(shelf, ask):
    outcome = unchanged(shelf, ask)
    assert outcome.result is Result.REFUSED
    assert shelf.log[-1].error is outcome.error
    return outcome.error.code, outcome.error.facts
