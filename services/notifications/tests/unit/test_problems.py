"""Every error of the domain has a status, a code of its own, and words."""

from notifications import domain
from notifications.api import PROBLEMS


def _errors(root: type[Exception]) -> list[type[Exception]]:
    return [each for child in root.__subclasses__() for each in (child, *_errors(child))]


def test_every_error_has_a_status() -> None:
    assert set(PROBLEMS) == set(_errors(domain.NotificationError))


def test_codes_are_unique_and_the_tree_names_all() -> None:
    errors = _errors(domain.NotificationError)
    codes = [error.code for error in errors]  # type: ignore[attr-defined]
    assert len(set(codes)) == len(codes)
    for error in errors:
        assert f"── {error.__name__} " in (domain.NotificationError.__doc__ or "").replace("\n", " \n")
        assert error.__doc__
