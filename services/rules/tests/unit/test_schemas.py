"""What callers send."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from rules.documents import RuleDocument
from rules.schemas import PreviewBody


@pytest.mark.parametrize(
    ("body", "part"), [(PreviewBody, ("lines",)), (PreviewBody, ("coupons",)), (RuleDocument, ("match", "brands"))]
)
def test_of_very_many_items_at_fault_the_first_is_told(body: type[BaseModel], part: tuple[str, ...]) -> None:
    asked: Any = [{}] * 10_000
    for name in reversed(part):
        asked = {name: asked}
    with pytest.raises(ValidationError) as refused:
        body.model_validate(asked)
    places = {fault["loc"] for fault in refused.value.errors() if fault["type"] != "too_short"}
    assert {place[: len(part) + 1] for place in places if place[: len(part)] == part} == {(*part, 0)}
