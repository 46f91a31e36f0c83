"""The real listings: the same equalities on what people really sold, and the row counts stay bounded."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from feature_cases import HISTORY

from feature_repo.build import build_features
from feature_repo.materialise import materialise
from feature_repo.online import OnlineMarket
from feature_repo.training_set import build_training_set, load_training_set, market_as_of
from graildient.lake import Lake
from graildient.listing_files import read_listings
from graildient.pricing.market import ALL_VIEWS, MARKET_FEATURES, keys_of
from graildient.storage import Storage

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture(scope="module")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """A lake of the newest 2,500 real sales."""
    root = Storage(str(tmp_path_factory.mktemp("real")))
    listings = [read.listing for read in read_listings(shared_data / "grailed_sold_2021.csv.gz", sold=True)]
    Lake(root).append([listing for listing in listings if listing is not None][-2500:])
    return root


def test_real_listings_from_the_lake_to_the_look_up(real: Storage) -> None:
    built = build_features(real, HISTORY)
    made = build_training_set(real, HISTORY, "runs/r/t.parquet")
    assert made.rows == built.sales == Lake(real).count()
    listings, rows = load_training_set(real, made.path)
    span = (built.as_of - min(s.sold_at for s in listings)).days
    for view in ALL_VIEWS:
        sales = sum(len(keys_of(s).of(view)) for s in listings)
        keys = len({key for s in listings for key in keys_of(s).of(view)})
        assert built.rows[view.name] <= 5 * sales + keys * (span // 90 + 1)
    # As time goes on there is something to look up for almost everything.
    late = rows[-500:]
    assert sum(row["category_mean_log_price"] is not None for row in late) > 450
    assert all(set(row) == set(MARKET_FEATURES) for row in rows)
    materialise(real, HISTORY)
    asked = [s.model_copy(update={"created_at": None}) for s in listings]
    with OnlineMarket(real, HISTORY) as shop:
        found = shop.lookup(asked)
    assert found.rows == market_as_of(asked, real, HISTORY)
    assert (found.missing, found.expired) == (0, 0)


def test_no_real_listing_sees_its_own_price(real: Storage, tmp_path: Path) -> None:
    build_features(real, HISTORY)
    listings, rows = load_training_set(real, build_training_set(real, HISTORY, "runs/r/t.parquet").path)
    other = Storage(str(tmp_path / "other"))
    changed = {s.id for s in listings[::50]}
    Lake(other).append(
        s.model_copy(update={"sold_price": s.sold_price * 7}) if s.id in changed else s for s in listings
    )
    build_features(other, HISTORY)
    moved = market_as_of(listings, other, HISTORY)
    first = min(s.knowable_at(HISTORY.publication_lag) for s in listings if s.id in changed)
    early = [i for i, s in enumerate(listings) if s.created_at < first]
    assert early
    assert all(rows[i] == moved[i] for i in early)
    late = [i for i, s in enumerate(listings) if s.created_at > first + timedelta(days=3)]
    assert any(rows[i] != moved[i] for i in late)
