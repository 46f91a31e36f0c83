"""The page of the features is the one that the definitions give."""

from __future__ import annotations

from pathlib import Path

from feature_repo.page import PAGE, page
from graildient.pricing.market import ALL_VIEWS


def test_the_page_is_not_stale() -> None:
    written = (Path(__file__).parents[2] / PAGE).read_text()
    assert written == page(), "run: graildient features docs > docs/features.md"


def test_the_page_has_a_row_for_every_feature() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert len(rows) == sum(len(view.stored) for view in ALL_VIEWS)
    assert sum(line.endswith("| yes |") for line in rows) == 15
