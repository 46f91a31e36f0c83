from __future__ import annotations

import csv
import gzip
import json
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from graildient.errors import StorageError
from graildient.lake import SCHEMA, Lake, row_from_listing
from graildient.listing import Listing, SoldListing
from graildient.listing_files import FORMATS, count_rows, read_listings
from graildient.storage import Storage

ROWS: list[dict[str, Any]] = [
    {
        "id": 1,
        "title": 'Tee, "the" one',
        "sold_price": 40.0,
        "created_at": "2021-01-01",
        "sold_at": "2021-01-02",
    },
    {"id": 2, "title": "Two\nlines", "sold_price": 41.0, "created_at": "2021-01-01", "sold_at": "2021-01-03"},
    {"id": 3, "title": "", "sold_price": 42.0, "created_at": "2021-01-01", "sold_at": "2021-01-04"},
    {"id": 2, "title": "Two\nlines", "sold_price": 41.0, "created_at": "2021-01-01", "sold_at": "2021-01-03"},
]


def write_csv(path: Path) -> None:
    opened = gzip.open if path.name.endswith(".gz") else open
    with opened(path, "wt", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(ROWS[0]))
        writer.writeheader()
        writer.writerows(ROWS)


def write_jsonl(path: Path) -> None:
    opened = gzip.open if path.name.endswith(".gz") else open
    with opened(path, "wt", encoding="utf-8") as out:
        out.write("\n\n".join(map(json.dumps, ROWS)))


def write_parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=2)


WRITERS: dict[str, Callable[[Path], None]] = {
    "csv": write_csv,
    "csv.gz": write_csv,
    "jsonl": write_jsonl,
    "jsonl.gz": write_jsonl,
    "parquet": write_parquet,
}


@pytest.fixture(params=FORMATS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"Listings.{request.param}"
    WRITERS[request.param](path)
    return path


def test_every_format_reads_alike(file: Path) -> None:
    reads = list(read_listings(file, sold=True))
    assert [read.row for read in reads] == [1, 2, 3, 4]
    assert [read.listing and read.listing.id for read in reads] == [1, 2, None, 2]
    assert all(isinstance(read.listing, SoldListing) for read in reads if read.listing)
    assert reads[1].listing == reads[3].listing
    assert reads[1].listing is not None
    assert reads[1].listing.title == "Two\nlines"
    assert reads[2].error is not None
    assert [d.field for d in reads[2].error.details] == ["title"]
    assert str(reads[2].payload["id"]) == "3"
    assert count_rows(file) == 4
    assert count_rows(str(file)) == 4


def test_without_the_sale(file: Path) -> None:
    assert {type(read.listing) for read in read_listings(file, sold=False) if read.listing} == {Listing}


def test_a_file_of_unsold_listings_is_refused_row_by_row_as_sales(tmp_path: Path) -> None:
    path = tmp_path / "listings.jsonl"
    path.write_text('{"title": "a"}\n{"title": "b", "sold_price": "x"}\n', encoding="utf-8")
    for read in read_listings(path, sold=True):
        assert read.error is not None
        assert "sold_price" in {d.field for d in read.error.details}
    assert [r.listing and r.listing.title for r in read_listings(path, sold=False)] == ["a", "b"]


def test_what_the_lake_stores_is_read(tmp_path: Path) -> None:
    listing = SoldListing.model_validate({**ROWS[0], "designers": ["A", "B"], "scraped_at": "2021-02-01"})
    path = tmp_path / "part.parquet"
    pq.write_table(pa.Table.from_pylist([row_from_listing(listing)], schema=SCHEMA), path)
    assert [read.listing for read in read_listings(path, sold=True)] == [listing]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "is not JSON"),
        ("[1]", "is not an object"),
        ("[" * 100_000, "is not JSON"),
        ("9" * 5000, "is not JSON"),
        ('"\\ud800"', "is not an object"),
    ],
)
def test_a_bad_line_is_an_error_of_its_row_and_the_next_is_read(
    tmp_path: Path, line: str, reason: str
) -> None:
    path = tmp_path / "listings.jsonl"
    path.write_text(f'{line}\n{{"title": "a"}}\n', encoding="utf-8")
    bad, good = read_listings(path, sold=False)
    assert bad.error is not None
    assert [(d.field, d.reason) for d in bad.error.details] == [("row", reason)]
    assert bad.payload["line"].strip() == line
    assert good.listing == Listing(title="a")
    assert count_rows(path) == 2


def test_bad_rows_of_csv(tmp_path: Path) -> None:
    path = tmp_path / "listings.csv"
    path.write_bytes(
        b"\xef\xbb\xbftitle,size\n"  # a byte order mark, as spreadsheets write it
        b"a,l,one too many\n"
        b"only a title\n"
        b"not \xff utf-8,l\n" + b"x" * 17_000_000 + b",l\n"
        b"b,m\n"
    )
    reads = list(read_listings(path, sold=False))
    assert [read.listing and read.listing.title for read in reads] == [None, "only a title", None, None, "b"]
    errors = [read.error and read.error.details[0] for read in reads]
    assert [e and e.field for e in errors] == ["row", None, "title", "row", None]
    assert reads[0].payload["title"] == "a"
    assert reads[1].listing is not None
    assert reads[1].listing.size is None
    # The quarantine can keep each of them.
    assert all(json.dumps(read.payload) for read in reads)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("listings.csv", b""),
        ("listings.csv.gz", b"no gzip"),
        ("listings.jsonl.gz", gzip.compress(b'{"title": "a"}\n' * 1000)[:-20]),
        ("listings.csv.gz", gzip.compress(b"")[:10] + b"rubbish" * 10),
        ("listings.parquet", b"PAR1 rubbish PAR1"),
        ("listings.parquet", b""),
        ("listings.xlsx", b"PK"),
        ("listings", b"title\na\n"),
    ],
    ids=["empty", "no gzip", "cut gzip", "broken gzip", "no parquet", "empty parquet", "kind", "no kind"],
)
def test_a_file_that_cannot_be_read_is_a_storage_error(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(StorageError, match=name):
        list(read_listings(path, sold=False))
    with pytest.raises(StorageError, match=name):
        count_rows(path)


def test_no_such_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no file at"):
        next(read_listings(tmp_path / "nothing.csv", sold=True))
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    with pytest.raises(StorageError, match="cannot read"):
        next(read_listings(folder, sold=True))


@pytest.mark.parametrize("kind", ["csv.gz", "jsonl"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, kind: str) -> None:
    peaks = []
    for rows in (300, 3000):
        path = tmp_path / f"listings-{rows}.{kind}"
        with (gzip.open if kind.endswith("gz") else open)(path, "wt", encoding="utf-8") as out:
            if kind == "csv.gz":
                out.write("title,description\n")
            for i in range(rows):
                text = f"{i} " * 500
                out.write(
                    f"a,{text}\n"
                    if kind == "csv.gz"
                    else json.dumps({"title": "a", "description": text}) + "\n"
                )
        tracemalloc.start()
        assert sum(read.listing is not None for read in read_listings(path, sold=False)) == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 2


def test_an_address_is_read_like_a_path(s3_storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    s3_storage.write_bytes("listings.jsonl", b'{"title": "a"}\n')
    monkeypatch.setenv("AWS_ENDPOINT_URL", str(s3_storage.fs.endpoint_url))
    monkeypatch.setenv("FSSPEC_S3_ENDPOINT_URL", str(s3_storage.fs.endpoint_url))
    url = s3_storage.url("listings.jsonl")
    assert [read.listing for read in read_listings(url, sold=False)] == [Listing(title="a")]
    with pytest.raises(StorageError, match="no file at"):
        count_rows(s3_storage.url("nothing.jsonl"))


@pytest.mark.real
def test_the_sales_of_2021_reach_the_lake(shared_data: Path, storage: Storage) -> None:
    path = shared_data / "grailed_sold_2021.csv.gz"
    reads = list(read_listings(path, sold=True))
    assert len(reads) == count_rows(path) == 11_980
    refused = Counter(read.error.details[0].field for read in reads if read.error)
    assert refused == {"sold_price": 10}
    listings = [read.listing for read in reads if isinstance(read.listing, SoldListing)]
    assert all(listing.time_is_estimated and listing.subcategory for listing in listings)
    assert [x.created_at for x in listings] == sorted(x.created_at for x in listings)
    lake = Lake(storage)
    # A thousand suffice here; the whole file is the benchmark's.
    assert lake.append(listings[:1000]).written == 1000
    assert {x.id: x for x in lake.listings()} == {x.id: x for x in listings[:1000]}


@pytest.mark.real
def test_the_sales_of_2026_are_all_understood(shared_data: Path) -> None:
    reads = list(read_listings(shared_data / "grailed_sold_2026_sample.jsonl", sold=True))
    assert [read.error for read in reads] == [None] * 200
    assert not any(read.listing.time_is_estimated for read in reads if read.listing)
    assert all(read.listing.subcategory for read in reads if read.listing)
