"""Refusals of the domain and the table of their statuses."""

import inspect

from redemption.api import PROBLEMS
from redemption.domain import errors


def test_every_refusal_has_a_status_and_a_code_of_its_own() -> None:
    refusals = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.RedemptionError) and kind is not errors.RedemptionError
    }
    assert set(PROBLEMS) == refusals
    assert len({kind.code for kind in refusals}) == len(refusals)
