"""Building: reuse, determinism, what is said when there is nothing to build, and the training set."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq
import pytest
from feature_cases import HISTORY, START, fill, market, sale

from feature_repo import build
from feature_repo.build import build_features
from feature_repo.manifest import MANIFEST, read_manifest, read_view
from feature_repo.status import status
from feature_repo.store import REGISTRY, view_path
from feature_repo.training_set import build_training_set, load_training_set, market_as_of
from graildient.errors import FeatureStoreError, NotEnoughData, StorageError
from graildient.lake import SCHEMA, Lake
from graildient.listing import Listing
from graildient.pricing.market import ALL_VIEWS, CATEGORY, MARKET_FEATURES
from graildient.settings import FeatureSettings
from graildient.storage import Storage

feast_offline = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")
NOON = datetime(2023, 6, 1, 12, tzinfo=UTC)


def tables(storage: Storage) -> dict[str, bytes]:
    return {view.name: storage.read_bytes(view_path(view)) for view in ALL_VIEWS}


def test_the_end_of_history_is_the_first_midnight_that_knows_every_sale(storage: Storage) -> None:
    sales = market(50)
    fill(storage, sales)
    built = build_features(storage, HISTORY)
    newest = max(s.knowable_at(HISTORY.publication_lag) for s in sales)
    assert built.as_of - timedelta(days=1) <= newest < built.as_of
    assert (built.sales, built.reused) == (50, False)
    assert built.rows == {
        view.name: read_view(storage, read_manifest(storage), view).num_rows for view in ALL_VIEWS
    }


def test_live_stands_at_the_newest_midnight_and_moves_on(storage: Storage) -> None:
    fill(storage, market(50))
    live = FeatureSettings(clock="live")
    first = build_features(storage, live, now=NOON)
    assert first.as_of == NOON.replace(hour=0)
    assert build_features(storage, live, now=NOON + timedelta(hours=11)).reused
    tomorrow = build_features(storage, live, now=NOON + timedelta(days=1))
    assert not tomorrow.reused
    assert tomorrow.as_of == first.as_of + timedelta(days=1)


def test_the_same_sales_give_the_same_bytes_however_they_came(tmp_path) -> None:
    sales = market(120)
    roots = [Storage(str(tmp_path / name)) for name in ("one", "two")]
    fill(roots[0], sales)
    for start in range(0, 120, 17):
        scraped = datetime(2024, 1, 1 + start // 17, tzinfo=UTC)
        fill(
            roots[1],
            [s.model_copy(update={"scraped_at": scraped}) for s in reversed(sales[start : start + 30])],
        )
    first, second = (build_features(root, HISTORY) for root in roots)
    assert tables(roots[0]) == tables(roots[1])
    assert first == second
    sets = [build_training_set(root, HISTORY, "runs/r/training.parquet") for root in roots]
    assert sets[0] == sets[1]


def test_an_unchanged_lake_is_not_built_again(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = fill(storage, market(40))
    seen: list[str] = []

    def report(stage: str, *, done: float, total: float | None = None, note: str = "") -> None:
        seen.append(f"{stage} {done:g}/{total:g} {note}")

    first = build_features(storage, HISTORY, report)
    assert [line.split()[1] for line in seen] == ["0/4", "1/4", "2/4", "3/4", "4/4"]
    monkeypatch.setattr(Lake, "read", lambda *_: pytest.fail("read the lake again"))
    again = build_features(storage, HISTORY, report)
    assert again.reused
    assert (again.fingerprint, again.rows) == (first.fingerprint, first.rows)
    assert seen[-1] == "features 4/4 reused"
    monkeypatch.undo()
    lake.append([sale(900, created=START, designers=["New"])])
    assert not build_features(storage, HISTORY).reused


@pytest.mark.parametrize("what", ["settings", "code", "table", "half a table"])
def test_what_decides_the_tables_makes_them_new(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    fill(storage, market(40))
    first = build_features(storage, HISTORY)
    before = tables(storage)
    settings = HISTORY
    if what == "settings":
        settings = FeatureSettings(clock="history", ttl_days=90)
    elif what == "code":
        monkeypatch.setattr(build, "code_fingerprint", lambda: "another")
    elif what == "table":
        storage.remove(view_path(CATEGORY))
    else:
        storage.write_bytes(view_path(CATEGORY), before[CATEGORY.name][:-10])
    second = build_features(storage, settings)
    assert not second.reused
    assert (second.fingerprint == first.fingerprint) == (what != "settings")
    assert (tables(storage) == before) == (what != "settings")


def test_a_lost_registry_is_made_again_without_building(storage: Storage) -> None:
    fill(storage, market(20))
    build_features(storage, HISTORY)
    storage.remove(REGISTRY)
    assert build_features(storage, HISTORY).reused
    assert view_path(CATEGORY).encode() in storage.read_bytes(REGISTRY)


def test_an_empty_lake_says_what_to_do(storage: Storage) -> None:
    with pytest.raises(NotEnoughData, match="no sold listings") as caught:
        build_features(storage, HISTORY)
    assert "graildient scrape" in caught.value.hint
    assert not storage.exists(MANIFEST)


def test_a_sale_from_the_future_does_not_move_the_end_of_history(storage: Storage) -> None:
    """One wrong clock would make every other row look expired."""
    lake = fill(storage, market(30))
    first = build_features(storage, HISTORY, now=NOON)
    lake.append([sale(900, created=NOON, days=20_000)])
    second = build_features(storage, HISTORY, now=NOON)
    assert (second.as_of, second.sales) == (first.as_of, 30)
    assert read_manifest(storage).later == 1


def test_a_lake_of_sales_from_the_future_says_so(storage: Storage) -> None:
    fill(storage, [sale(900, created=NOON, days=20_000)])
    with pytest.raises(NotEnoughData, match="but 1 after"):
        build_features(storage, HISTORY, now=NOON)


def test_of_an_id_with_two_prices_the_one_scraped_last_counts_once(storage: Storage) -> None:
    old = sale(1, created=START, price=10, scraped_at=NOON, category="tops")
    fill(storage, [old, old.model_copy(update={"sold_price": 500.0, "scraped_at": NOON + timedelta(days=1)})])
    assert build_features(storage, HISTORY).sales == 1
    rows = read_view(storage, read_manifest(storage), CATEGORY).to_pylist()
    assert {round(2.718281828 ** row["median_log_price"]) for row in rows} == {501}


def test_nothing_knowable_yet_is_said(storage: Storage) -> None:
    fill(storage, [sale(1, created=NOON, days=0.1)])
    with pytest.raises(NotEnoughData, match="none of 1 sales") as caught:
        build_features(storage, FeatureSettings(clock="live"), now=NOON + timedelta(days=1))
    assert "publication lag" in caught.value.hint


def test_a_table_that_is_not_the_manifests_is_refused(storage: Storage) -> None:
    fill(storage, market(20))
    with pytest.raises(FeatureStoreError, match="no features"):
        build_training_set(storage, HISTORY, "t.parquet")
    build_features(storage, HISTORY)
    storage.write_bytes(view_path(CATEGORY), b"half")
    for by_feast in (False, True):
        with pytest.raises(FeatureStoreError, match=r"category_market\.parquet does not match"):
            build_training_set(storage, HISTORY, "t.parquet", by_feast=by_feast)
    storage.write_bytes(MANIFEST, b"{}")
    with pytest.raises(FeatureStoreError, match=r"manifest\.json is broken"):
        build_features(storage, HISTORY)


@feast_offline
def test_the_training_set_is_the_lake_beside_the_market_of_each_label_time(storage: Storage) -> None:
    sales = market(150, seed=4)
    fill(storage, sales)
    built = build_features(storage, HISTORY)
    made = build_training_set(storage, HISTORY, "runs/r/training.parquet")
    assert (made.rows, made.as_of) == (150, built.as_of)
    assert made.start == min(s.created_at for s in sales)
    assert made.end == max(s.created_at for s in sales)
    listings, rows = load_training_set(storage, made.path)
    ordered = sorted(sales, key=lambda s: (s.created_at, s.id))
    assert listings == ordered
    assert rows == market_as_of(ordered, storage, HISTORY)
    assert {name for row in rows for name in row} == set(MARKET_FEATURES)
    by_feast = build_training_set(storage, HISTORY, "runs/r/feast.parquet", by_feast=True)
    assert by_feast.sha256 == made.sha256
    columns = pq.read_schema(storage.local(made.path)).names
    assert columns == [*SCHEMA.names, *MARKET_FEATURES]


def test_a_training_row_holds_only_sales_knowable_before_its_label_time(storage: Storage) -> None:
    sales = [s.model_copy(update={"designers": ("Kappa",)}) for s in market(90, seed=6)]
    fill(storage, sales)
    build_features(storage, HISTORY)
    listings, rows = load_training_set(storage, build_training_set(storage, HISTORY, "t.parquet").path)
    lag, midnight = HISTORY.publication_lag, timedelta(days=1)
    for listing, row in zip(listings, rows, strict=True):
        day = listing.created_at.replace(hour=0, minute=0, second=0, microsecond=0)
        known = sum(s.knowable_at(lag) < day for s in sales)
        assert row["designer_sales_count_max"] == (known or None)
        assert all(s.id != listing.id for s in sales if s.knowable_at(lag) < day + midnight)
    assert max(row["designer_sales_count_max"] or 0 for row in rows) > 50


def test_live_training_leaves_out_what_is_not_knowable_yet(storage: Storage) -> None:
    old = market(30)
    fill(storage, [*old, sale(900, created=NOON - timedelta(days=5), days=4.9)])
    live = FeatureSettings(clock="live")
    build_features(storage, live, now=NOON)
    assert build_training_set(storage, live, "t.parquet").rows == 30


def test_a_foreign_listing_sees_the_newest_rows_until_they_expire(storage: Storage) -> None:
    fill(storage, market(60))
    built = build_features(storage, HISTORY)
    listing = Listing(title="x", designers=("kappa",), category="tops", subcategory="short_sleeve_shirts")
    moments = [None, built.as_of, built.as_of + timedelta(days=365), built.as_of + timedelta(days=366)]
    asked = [listing.model_copy(update={"created_at": m}) for m in moments]
    now, same, last, expired = market_as_of(asked, storage, HISTORY)
    assert now == same == last
    assert now["designer_sales_count_max"]
    assert set(expired.values()) == {None}
    live = FeatureSettings(clock="live")
    assert market_as_of(asked[:1], storage, live, now=built.as_of + timedelta(days=366)) == [expired]


def test_a_file_that_is_no_training_set_is_refused(storage: Storage) -> None:
    fill(storage, market(5))
    build_features(storage, HISTORY)
    storage.write_bytes("broken.parquet", b"PAR1")
    for path in ("broken.parquet", view_path(CATEGORY)):
        with pytest.raises(StorageError, match="no training set"):
            load_training_set(storage, path)
    with pytest.raises(StorageError, match="no file"):
        load_training_set(storage, "nowhere.parquet")


def test_status_tells_what_is_there(storage: Storage) -> None:
    assert status(storage, HISTORY)["built"] is False
    lake = fill(storage, market(30))
    built = build_features(storage, HISTORY)
    told = status(storage, HISTORY)
    assert json.loads(json.dumps(told)) == told
    assert (told["as_of"], told["sales"], told["current"]) == (built.as_of.isoformat(), 30, True)
    assert told["online"]["state"] == "empty"
    lake.append([sale(900, created=START)])
    assert status(storage, HISTORY)["current"] is False
    live = FeatureSettings(clock="live")
    late = status(storage, live, now=built.as_of + timedelta(days=400))
    assert (late["age_days"], late["expired"], late["current"]) == (400.0, True, False)
