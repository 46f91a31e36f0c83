"""What the pipeline says of a lake before it learns from it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from graildient.errors import LakeRefused, NotEnoughData
from graildient.lake import Lake, Quarantined
from graildient.listing import SoldListing
from graildient.parsing import parse_hit
from graildient.settings import TrainingSettings
from graildient.storage import Storage
from pipelines.validate import Validation, validate, validation_page
from scrapers.marketplace.generator import generate

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def sold() -> list[SoldListing]:
    parsed = (parse_hit(hit) for hit in generate(250, 3))
    return [listing for listing in parsed if isinstance(listing, SoldListing)][:200]


def lake_of(storage: Storage, listings: Iterable[SoldListing]) -> Lake:
    lake = Lake(storage)
    lake.append(listings)
    return lake


def changed(sold: list[SoldListing], count: int, **values: Any) -> list[SoldListing]:
    """The listings, the first of them as no scraper of ours would write them."""
    return [s.model_copy(update=values) if n < count else s for n, s in enumerate(sold)]


def test_a_sound_lake(storage: Storage, sold: list[SoldListing]) -> None:
    found = validate(lake_of(storage, sold), now=NOW)
    found.refuse(TrainingSettings())
    assert (found.listings, found.rows, found.quarantined, found.absurd) == (200, 200, 0, {})
    assert found.first_sale == min(s.sold_at for s in sold).isoformat()
    assert found.last_sale == max(s.sold_at for s in sold).isoformat()
    assert found.price_quantiles["max"] == max(s.sold_price for s in sold)
    assert found.designers == len({d for s in sold for d in s.designers})
    assert found.nulls["color"] == pytest.approx(sum(s.color is None for s in sold) / 200) or (
        "color" not in found.nulls and all(s.color for s in sold)
    )


def test_an_empty_lake(storage: Storage) -> None:
    with pytest.raises(NotEnoughData, match="the lake holds no sold listings") as caught:
        validate(Lake(storage))
    assert storage.root in caught.value.hint


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"sold_price": 0.0}, "at a price of 0 or less"),
        ({"sold_price": 1e9}, "dearer than $1,000,000"),
        ({"sold_price": float("nan")}, "at a price that is no number"),
        ({"sold_at": NOW + timedelta(days=40)}, "sold in the future"),
        ({"sold_at": datetime(1990, 1, 1, tzinfo=UTC)}, "sold before they were created"),
        ({"description": "x" * 100_000}, "with a description that is too long"),
        ({"title": None}, "without title"),
    ],
)
def test_what_cannot_be_true_is_counted_and_too_much_of_it_refused(
    storage: Storage, sold: list[SoldListing], values: dict[str, Any], reason: str
) -> None:
    found = validate(lake_of(storage, changed(sold, 11, **values)), now=NOW)
    assert found.absurd[reason] == 11
    assert found.absurd_share == pytest.approx(11 / 200), "a listing with two reasons is one listing"
    assert f"11 listings {reason}" in found.warnings
    with pytest.raises(LakeRefused, match=r"5\.5% of 200 listings cannot be true") as caught:
        found.refuse(TrainingSettings())
    assert reason in caught.value.message
    assert caught.value.details[0].field == "max_absurd_share"
    found.refuse(TrainingSettings(max_absurd_share=0.06))


def test_too_much_in_quarantine_is_refused_with_its_causes(storage: Storage, sold: list[SoldListing]) -> None:
    lake = lake_of(storage, sold[:50])
    lake.quarantine(Quarantined("price", "sold_price", {"n": n}, "test") for n in range(60))
    found = validate(lake, now=NOW)
    assert found.quarantine_share == pytest.approx(60 / 110)
    with pytest.raises(LakeRefused, match=r"54\.5% of what was scraped is in quarantine \(60 price\)"):
        found.refuse(TrainingSettings())
    found.refuse(TrainingSettings(max_quarantine_share=0.6))


def test_what_is_odd_is_told_and_goes_on(storage: Storage, sold: list[SoldListing]) -> None:
    odd = changed(sold, 200, color=None, sold_price=50.0, designers=("Ünïcode 東京 👖",), scraped_at=NOW)
    dearer = odd[0].model_copy(update={"sold_price": 50.5, "scraped_at": NOW - timedelta(days=1)})
    found = validate(lake_of(storage, [*odd, dearer]), now=NOW)
    found.refuse(TrainingSettings())
    assert (found.listings, found.rows, found.designers) == (200, 201, 1)
    for warning in (
        "column color is empty",
        "every listing sold for $50.00",
        "there is one designer only",
        "1 rows are older versions of a listing; the newest counts",
    ):
        assert warning in found.warnings


def test_the_page_shows_every_figure_and_warning(storage: Storage) -> None:
    import json

    found = Validation(3, 4, 1, 0.25, {"a|b": 1}, "", "", {"min": 1.0}, 2, {}, 0.0, {}, ["odd"])
    storage.write_bytes("runs/r/validation.json", json.dumps(found.to_json()).encode())
    page = validation_page(storage, "r")
    assert "- odd" in page
    assert "| quarantine_share | 0.25 |" in page
    assert "| price_quantiles: min | 1 |" in page
