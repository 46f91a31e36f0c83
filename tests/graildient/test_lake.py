from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graildient import lake as lake_module
from graildient.errors import StorageError
from graildient.lake import (
    SCHEMA,
    SOLD,
    Appended,
    Lake,
    Quarantined,
    content_hash,
    row_from_listing,
    row_to_listing,
)
from graildient.listing import SoldListing
from graildient.storage import Storage

DAY = datetime(2021, 1, 2, 12, tzinfo=UTC)


def sold(listing_id: int = 1, **changes: Any) -> SoldListing:
    fields = {
        "id": listing_id,
        "title": f"Item {listing_id}",
        "designers": ("Fir", "Larch"),
        "hashtags": ("a",),
        "category": "tops",
        "sold_price": 40.0,
        "created_at": DAY - timedelta(days=37),
        "sold_at": DAY,
        "scraped_at": DAY + timedelta(days=1),
    }
    return SoldListing.model_validate(fields | changes)


def parts(storage: Storage) -> list[str]:
    return storage.glob(f"{SOLD}/*/*.parquet")


@pytest.fixture(params=["local", "s3"])
def any_storage(request: pytest.FixtureRequest) -> Storage:
    storage: Storage = request.getfixturevalue("storage" if request.param == "local" else "s3_storage")
    return storage


def test_the_columns_are_the_fields_of_a_sold_listing() -> None:
    assert SCHEMA.names == [*SoldListing.model_fields]


@pytest.mark.parametrize(
    "listing",
    [
        sold(),
        sold(designers=(), hashtags=(), scraped_at=None, category=None),
        sold(
            description="a\nb",
            subcategory="polos",
            size="l",
            color="gray",
            condition="used",
            photo_count=3,
            asking_price=1.5,
            location="Asia",
            seller_hash="ab",
            time_is_estimated=True,
            shipping_price=0.0,
            shipping_included=False,
        ),
    ],
)
def test_a_row_is_the_listing_without_validating_again(listing: SoldListing) -> None:
    table = pa.Table.from_pylist([row_from_listing(listing)], schema=SCHEMA)
    again = row_to_listing(table.to_pylist()[0])
    assert again == listing
    assert SoldListing.model_validate(again.model_dump()) == listing
    assert again.model_dump_json() == listing.model_dump_json()
    assert hash(again.designers) == hash(listing.designers)
    assert again.sold_at.tzinfo is UTC


def test_append_and_read(any_storage: Storage) -> None:
    lake = Lake(any_storage)
    listings = [sold(i, sold_at=DAY + timedelta(hours=7 * i)) for i in range(1, 11)]
    assert lake.append(reversed(listings)) == Appended(10, 0)
    assert list(lake.listings()) == listings
    assert lake.count() == 10
    assert lake.ids() == set(range(1, 11))
    assert lake.newest_sale() == listings[-1].sold_at
    table = lake.read(["sold_price", "id"])
    assert table.schema == pa.schema([SCHEMA.field("sold_price"), SCHEMA.field("id")])
    assert table["id"].to_pylist() == list(range(1, 11))
    days = {part.split("/")[2] for part in parts(any_storage)}
    assert days == {f"sold_date={listing.sold_at.date()}" for listing in listings}


def test_an_empty_lake(any_storage: Storage) -> None:
    lake = Lake(any_storage)
    assert lake.append([]) == Appended(0, 0)
    assert lake.read().schema == SCHEMA
    assert lake.read().num_rows == lake.count() == 0
    assert lake.newest_sale() is None
    assert list(lake.listings()) == []
    assert list(lake.quarantined()) == []
    assert lake.fingerprint() == Lake(any_storage).fingerprint()


def test_the_same_facts_scraped_later_are_duplicates(any_storage: Storage) -> None:
    lake = Lake(any_storage)
    assert lake.append([sold(1), sold(1), sold(2)]) == Appended(2, 1)
    before, fingerprint = parts(any_storage), lake.fingerprint()
    assert lake.append([sold(1, scraped_at=DAY + timedelta(days=9)), sold(2)]) == Appended(0, 2)
    assert parts(any_storage) == before
    assert lake.fingerprint() == fingerprint


def test_a_corrected_fact_is_a_row_of_its_own_and_the_last_scraped_is_read(any_storage: Storage) -> None:
    lake = Lake(any_storage)
    old = sold(1)
    moved = sold(1, sold_at=DAY - timedelta(days=3), sold_price=35, scraped_at=DAY + timedelta(days=5))
    lake.append([moved])
    fingerprint = lake.fingerprint()
    assert lake.append([old, sold(2)]) == Appended(2, 0)
    assert lake.fingerprint() != fingerprint
    assert list(lake.listings()) == [moved, sold(2)]
    assert lake.count() == 2
    corrected = sold(1, sold_price=36, scraped_at=DAY + timedelta(days=6))
    lake.append([corrected])
    assert list(lake.listings()) == [corrected, sold(2)]
    assert lake.newest_sale() == DAY


def test_a_row_without_a_time_of_scraping_gives_way(storage: Storage) -> None:
    dated, undated = sold(1, sold_price=1), sold(1, sold_price=2, scraped_at=None)
    for version in (dated, undated):
        Lake(storage).append([version])
    assert list(Lake(storage).listings()) == [dated]


def test_a_column_added_later_changes_no_hash() -> None:
    row = row_from_listing(sold(1, hashtags=()))
    older = {name: value for name, value in row.items() if value not in (None, [])}
    assert content_hash({**row, "new_column": None, "new_list": []}) == content_hash(older)
    assert content_hash({**row, "new_column": 0}) != content_hash(row)


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_versions_scraped_at_once_the_same_is_read_in_any_order(storage: Storage, order: int) -> None:
    # Of several days, so that the order of the files says nothing.
    versions = [sold(1, sold_at=DAY + timedelta(days=day)) for day in range(6)][::order]
    for version in versions:
        Lake(storage).append([version])
    expected = max(versions, key=lambda v: content_hash(row_from_listing(v)))
    assert list(Lake(storage).listings()) == [expected]


def test_the_same_rows_give_the_same_file_name(tmp_path: Path) -> None:
    names = []
    for i, rows in enumerate(([sold(1), sold(2), sold(3)], [sold(3), sold(1, scraped_at=None), sold(2)])):
        storage = Storage(str(tmp_path / str(i)))
        Lake(storage).append(rows)
        names.append(parts(storage))
    assert names[0] == names[1]
    assert len(names[0]) == 1


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_half_a_run_repeated_leaves_the_lake_of_one_clean_run(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    rows = [
        sold(i % 9 + 1, sold_price=float(i % 3 + 1), sold_at=DAY + timedelta(days=i % 4)) for i in range(24)
    ]
    clean = Lake(Storage(str(tmp_path_factory.mktemp("clean"))))
    clean.append(rows)
    broken = Lake(Storage(str(tmp_path_factory.mktemp("broken"))))
    for _ in range(2):
        broken.append(data.draw(st.permutations(rows))[: data.draw(st.integers(0, len(rows)))])
    broken.append(data.draw(st.permutations(rows)))
    assert broken.fingerprint() == clean.fingerprint()
    assert broken.read().equals(clean.read())


def test_batches_are_bounded(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake_module, "BATCH", 10)
    taken = 0

    def source() -> Iterator[SoldListing]:
        nonlocal taken
        for i in range(1, 36):
            taken = i
            # What was taken ten rows ago is on disk already.
            assert Lake(storage).count() >= (i - 1) // 10 * 10
            yield sold(i)

    assert Lake(storage).append(source()) == Appended(35, 0)
    assert taken == 35
    # All in one day: the later batches saw what the earlier ones wrote.
    assert Lake(storage).append([sold(i) for i in range(1, 36)]) == Appended(0, 35)
    assert len(parts(storage)) == 4


def test_a_part_left_half_written_is_not_read(storage: Storage) -> None:
    lake = Lake(storage)
    lake.append([sold(1)])
    folder = storage.local(parts(storage)[0]).parent
    (folder / ".part-00.parquet.ab12.part").write_bytes(b"PAR1")
    assert lake.count() == 1
    assert lake.append([sold(1)]) == Appended(0, 1)


def test_a_part_from_before_a_column_was_added_is_read(storage: Storage) -> None:
    lake = Lake(storage)
    lake.append([sold(1)])
    file = storage.local(parts(storage)[0])
    pq.write_table(pq.ParquetFile(file).read().drop_columns(["shipping_included"]), file)
    assert list(lake.listings()) == [sold(1)]


def test_large_and_small_days_read_alike(storage: Storage) -> None:
    many = [sold(i) for i in range(1, 601)]
    few = [sold(i, sold_at=DAY + timedelta(days=1)) for i in range(601, 604)]
    Lake(storage).append(many + few)
    assert list(Lake(storage).listings()) == many + few


def test_a_broken_part_and_an_unknown_column_are_refused(storage: Storage) -> None:
    lake = Lake(storage)
    lake.append([sold(1)])
    with pytest.raises(StorageError, match="no column likes"):
        lake.read(["likes"])
    storage.local(parts(storage)[0]).write_bytes(b"PAR1 rubbish PAR1")
    with pytest.raises(StorageError, match="cannot read"):
        lake.read()
    with pytest.raises(StorageError, match="part-"):
        lake.append([sold(2)])


def test_quarantine_keeps_the_payload_whole_and_once(any_storage: Storage) -> None:
    items = [
        Quarantined("invalid", "sold_price", {"id": 1, "sold_price": "x", "n": [1.5, None]}, "search"),
        Quarantined("truncated", "", '{"id": 1, "tit\ud800', "search"),
        Quarantined("invalid", "size", {1: "int key", "b": b"bytes"}, "file"),
    ]
    lake = Lake(any_storage)
    assert lake.quarantine(items) == 3
    assert lake.quarantine(items) == 0
    other = Lake(any_storage)
    assert other.quarantine([*items[:1], Quarantined("invalid", "title", {}, "search")]) == 1
    kept = {(q.cause, q.field): q for q in other.quarantined()}
    assert len(kept) == 4
    assert kept["invalid", "sold_price"] == items[0]
    assert kept["truncated", ""].payload == items[1].payload
    assert "bytes" in kept["invalid", "size"].payload
    today = datetime.now(UTC).date()
    folders = {name.removeprefix("date=") for name in any_storage.list("lake/quarantine")}
    assert folders <= {str(today), str(today - timedelta(days=1))}


def test_what_two_runs_quarantined_at_once_is_told_once(storage: Storage) -> None:
    one, two = Lake(storage), Lake(storage)
    list(one.quarantined())
    assert one.quarantine([]) == two.quarantine([]) == 0
    item = Quarantined("invalid", "size", {"id": 1}, "search")
    one.quarantine([item])
    two.quarantine([item, Quarantined("invalid", "size", {"id": 2}, "search")])
    assert sorted(q.payload["id"] for q in Lake(storage).quarantined()) == [1, 2]
    line = storage.read_bytes(storage.glob("lake/quarantine/*/*.jsonl")[0]).splitlines()[0]
    assert set(json.loads(line)) == {"cause", "field", "payload", "source"}


@pytest.mark.slow
def test_twelve_thousand_rows_over_2500_days_are_read_in_seconds(storage: Storage) -> None:
    draw = random.Random(7)
    days = [DAY - timedelta(days=draw.randrange(2500)) for _ in range(12_000)]
    rows = [sold(i, sold_at=day, created_at=day, description="words " * 60) for i, day in enumerate(days, 1)]
    lake = Lake(storage)
    assert lake.append(rows) == Appended(12_000, 0)
    started = time.process_time()
    assert lake.read().num_rows == 12_000
    # Of processor time, since others may be at work on the machine; half of it on two idle cores.
    assert time.process_time() - started < 6
    assert len(parts(storage)) > 2400
    assert min(date.fromisoformat(p.split("=")[1][:10]) for p in parts(storage)) < date(2014, 5, 1)
