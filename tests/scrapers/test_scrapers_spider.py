"""Scraping runs in processes of their own, over real HTTP, from the stand-in into a lake on disk."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from graildient.errors import InvalidListing
from graildient.lake import Lake
from graildient.listing import SoldListing
from graildient.listing_files import read_listings
from graildient.parsing import parse_hit
from graildient.storage import Storage
from scrapers.ledger import LEDGER, LOCK
from scrapers.marketplace.catalogue import Catalogue, from_file, synthetic
from scrapers.marketplace.settings import MarketplaceSettings

COUNT, SEED = 1500, 11
DEFECTS = {"broken_rate": 0.03, "duplicate_rate": 0.02}


def lake_of(root: Path) -> Lake:
    return Lake(Storage(str(root)))


def facts(listings: list[SoldListing]) -> dict[int, SoldListing]:
    return {listing.id: listing.model_copy(update={"scraped_at": None}) for listing in listings}


def in_lake(root: Path) -> dict[int, SoldListing]:
    return facts(list(lake_of(root).listings()))


def valid(catalogue: Catalogue) -> dict[int, SoldListing]:
    """The listings of a catalogue that keep the contract, each once."""
    found = {}
    for hit in catalogue.sold:
        try:
            listing = parse_hit(hit)
        except InvalidListing:
            continue
        assert isinstance(listing, SoldListing)
        found.setdefault(listing.id, listing)
    return found


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return synthetic(COUNT, SEED).seen_by(MarketplaceSettings(**DEFECTS))  # type: ignore[arg-type]


Start = Callable[..., Any]


def start_market(market: Start, **settings: object) -> Any:
    return market("--synthetic", str(COUNT), "--seed", str(SEED), **DEFECTS, **settings)


@pytest.mark.slow
def test_a_run_brings_what_is_valid_and_quarantines_the_rest(
    market: Start, run: Start, tmp_path: Path, catalogue: Catalogue
) -> None:
    url = start_market(market, cap=400).url
    root = tmp_path / "root"
    first = run(url, root, hit_cap=400, hits_per_page=150).report()
    expected = valid(catalogue)
    assert in_lake(root) == expected
    bad = len(catalogue.sold) - len(expected)
    assert bad > 30
    assert sum(first["quarantined"].values()) == bad
    assert {"missing", "invalid", "duplicate"} <= set(first["quarantined"])
    assert (first["listings"], first["duplicates"], first["exit_code"]) == (len(expected), 0, 0)
    assert first["finished"]
    assert first["problems"] == []
    kept = list(lake_of(root).quarantined())
    assert all(item.payload["objectID"] and item.field and item.source for item in kept)
    causes = Counter(item.cause for item in kept)
    assert set(causes) == set(first["quarantined"])
    # Each thing is kept once, however often the source shows it.
    assert all(causes[cause] <= count for cause, count in first["quarantined"].items())

    progress = [json.loads(line) for line in (root / "progress.jsonl").read_text().splitlines()]
    assert progress[-1]["done"] == progress[-1]["total"] == len(catalogue.sold)
    assert {event["stage"] for event in progress} == {"scrape"}

    before = lake_of(root).fingerprint()
    (root / LEDGER).unlink()
    again = run(url, root, hit_cap=400).report()
    assert (again["listings"], again["duplicates"]) == (0, len(expected))
    assert again["quarantined"] == first["quarantined"]
    assert lake_of(root).fingerprint() == before
    assert Counter(item.cause for item in lake_of(root).quarantined()) == causes


@pytest.mark.slow
def test_later_runs_take_what_is_new(market: Start, run: Start, tmp_path: Path) -> None:
    root = tmp_path / "root"
    moment = datetime(2026, 5, 1, tzinfo=UTC)
    arguments = ("--synthetic", "1000", "--seed", "4")
    early = market(*arguments, until=moment.isoformat())
    first = run(early.url, root).report()
    whole = valid(synthetic(1000, 4))
    assert in_lake(root) == {k: v for k, v in whole.items() if v.sold_at < moment}
    newest = max(listing.sold_at for listing in in_lake(root).values())
    late = market(*arguments)
    second = run(late.url, root).report()
    assert in_lake(root) == whole
    assert first["listings"] + second["listings"] == len(whole)
    # It looked a little further back than it had to, and no further.
    assert datetime.fromisoformat(second["since"]) == newest - timedelta(hours=48)
    assert 0 < second["duplicates"] < 20


@pytest.mark.slow
def test_faults_change_nothing_but_the_time(
    market: Start, run: Start, tmp_path: Path, catalogue: Catalogue
) -> None:
    url = start_market(
        market,
        rate_429=0.12,
        rate_500=0.12,
        rate_slow=0.05,
        slow_seconds=0.2,
        rate_truncated=0.12,
        rate_malformed=0.12,
    ).url
    root = tmp_path / "root"
    report = run(url, root, hits_per_page=250).report()
    assert in_lake(root) == valid(catalogue)
    assert (report["exit_code"], report["failed_ranges"], report["problems"]) == (0, 0, [])
    assert report["retries"] > 3
    # Each 429 asked for a second.
    assert report["seconds"] > 1


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_run_and_another_leave_what_one_run_leaves(
    market: Start, run: Start, tmp_path: Path, kill: signal.Signals
) -> None:
    url = market("--synthetic", "1500", "--seed", "2", rate_slow=1, slow_seconds=0.15).url
    root = tmp_path / "root"
    expected = valid(synthetic(1500, 2))
    stopped = run(url, root, hits_per_page=100, options={"flush": 200})
    until = time.monotonic() + 200
    while not list(root.glob("lake/sold/*/part-*.parquet")):
        assert stopped.process.poll() is None, stopped.log.read_text()
        assert time.monotonic() < until
        time.sleep(0.01)
    os.kill(stopped.process.pid, kill)
    if kill == signal.SIGTERM:
        report = stopped.report()
        assert report["exit_code"] == 3
        assert report["problems"] == ["stopped before the end"]
        assert lake_of(root).count() == report["listings"] > 0
        assert not (root / LEDGER).exists()
        return
    assert stopped.process.wait(60) == -signal.SIGKILL
    assert 0 < lake_of(root).count() < len(expected)
    # The newest sale in the lake says nothing of what is missing before it: nothing is taken for done.
    assert not (root / LEDGER).exists()
    again = run(url, root, hits_per_page=1000).report()
    assert again["exit_code"] == 0
    assert in_lake(root) == expected
    assert list(root.glob("lake/**/.*.part")) == []


@pytest.mark.slow
def test_a_file_with_thousands_in_one_second_and_rows_of_every_kind(
    market: Start, run: Start, tmp_path: Path
) -> None:
    """A csv under our own names: many sales of the same second, bad rows, double rows."""
    path = tmp_path / "listings.csv"
    with open(path, "w", newline="", encoding="utf-8") as out:
        columns = ["id", "title", "designers", "category_path", "size", "created_at", "sold_at", "sold_price"]
        writer = csv.DictWriter(out, columns)
        writer.writeheader()
        for n in range(1, 2501):
            writer.writerow(
                {
                    "id": n,
                    "title": f"Listing {n}",
                    "designers": "Kappa × Vintage",
                    "category_path": ["tops.polos", "bottoms.denim", ""][n % 3],
                    "size": ["m", "l", ""][n % 5 % 3],
                    "created_at": "2024-02-01T00:00:00Z",
                    "sold_at": "2024-03-01T10:00:00Z" if n > 100 else f"2024-03-02T10:{n % 60:02}:00Z",
                    "sold_price": {7: "", 8: "make an offer", 9: "-3"}.get(n, str(20 + n % 80)),
                }
            )
        writer.writerow({"id": 50, "title": "Listing 50", "sold_at": "2024-03-02T10:50:00Z", "sold_price": 70,
                         "created_at": "2024-02-01T00:00:00Z"})  # fmt: skip
        writer.writerow({"title": "No id", "sold_at": "2024-03-02T10:50:00Z", "sold_price": 70})
        writer.writerow({"id": 9001, "title": "", "sold_at": "2024-03-02T10:50:00Z", "sold_price": 70})
        out.write('9002,Too many,Kappa,tops.polos,m,2024-02-01,2024-03-01,50,"and more"\n')
    good = {
        r.listing.id: r.listing for r in read_listings(path, sold=True) if r.listing and r.listing.id != 50
    }
    url = market("--listings", str(path), cap=300).url
    root = tmp_path / "root"
    report = run(url, root, hit_cap=300).report()
    assert (report["exit_code"], report["uncovered"]) == (0, 0), report
    found = in_lake(root)
    assert set(found) == {*good, 50}
    assert {n: listing for n, listing in found.items() if n != 50} == good
    assert report["quarantined"] == {"duplicate": 1, "invalid": 4, "missing": 2}
    kept = {(item.cause, item.field, str(item.payload.get("id"))) for item in lake_of(root).quarantined()}
    assert {
        ("missing", "sold_price", "7"),
        ("invalid", "sold_price", "8"),
        ("invalid", "sold_price", "9"),
    } < kept
    assert ("duplicate", "id", "50") in kept
    assert ("missing", "title", "9001") in kept
    assert any("Too many" in str(item.payload.get("row")) for item in lake_of(root).quarantined())


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize("name", ["grailed_sold_2021.csv.gz", "grailed_sold_2026_sample.jsonl"])
def test_real_listings_arrive_as_the_file_has_them(
    market: Start, run: Start, tmp_path: Path, shared_data: Path, name: str
) -> None:
    path = shared_data / name
    reads = list(read_listings(path, sold=True))
    root = tmp_path / "root"
    report = run(market("--listings", str(path)).url, root).report()
    assert (report["exit_code"], report["problems"]) == (0, [])
    assert in_lake(root) == facts([r.listing for r in reads if isinstance(r.listing, SoldListing)])
    assert sum(report["quarantined"].values()) == sum(r.error is not None for r in reads)
    assert report["requests"] < 40


@pytest.mark.slow
def test_one_lake_takes_one_run_at_a_time(market: Start, run: Start, tmp_path: Path) -> None:
    import fcntl

    root = tmp_path / "root"
    url = market("--synthetic", "50").url
    (root / "lake").mkdir(parents=True)
    with open(root / LOCK, "w", encoding="utf-8") as held:
        held.write("4711")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        refused = run(url, root).report()
    assert refused["code"] == "storage"
    assert "another scrape (process 4711)" in refused["error"]


@pytest.mark.slow
def test_a_source_that_says_no_refuses_the_run(market: Start, run: Start, tmp_path: Path) -> None:
    guarded = market("--synthetic", "50", search_key="right", search_app="APP")
    wrong = run(guarded.url, tmp_path / "root", search_key="wrong-key", search_app="APP")
    found = wrong.report()
    assert (found["exit_code"], found["finished"]) == (4, False)
    assert "403" in found["problems"][0]
    assert "wrong-key" not in json.dumps(found) + wrong.log.read_text()


class Forbidding(BaseHTTPRequestHandler):
    """A site whose robots.txt forbids everything."""

    def do_GET(self) -> None:
        self.server.paths.append(self.path)  # type: ignore[attr-defined]
        body = b"User-agent: *\nDisallow: /\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.slow
def test_robots_are_obeyed(run: Start, tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Forbidding) as server:
        server.paths = []  # type: ignore[attr-defined]
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        report = run(f"http://127.0.0.1:{server.server_port}", tmp_path / "root").report()
        server.shutdown()
    assert report["exit_code"] == 4
    assert "robots.txt" in report["problems"][0]
    assert server.paths == ["/robots.txt"]  # type: ignore[attr-defined]


class Gateway(BaseHTTPRequestHandler):
    """Takes what is pushed."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.pushed.append((self.path, body.decode()))  # type: ignore[attr-defined]
        self.send_response(202)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.slow
def test_metrics_are_pushed_of_good_and_failed_runs(
    run: Start, market: Start, tmp_path: Path, free_port: int
) -> None:
    with HTTPServer(("127.0.0.1", 0), Gateway) as server:
        server.pushed = []  # type: ignore[attr-defined]
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        gateway = f"127.0.0.1:{server.server_port}"
        shop = market("--synthetic", "400", broken_rate=0.1, search_key="right", search_app="APP")
        keys = {"search_key": "right", "search_app": "APP", "metrics_pushgateway": gateway}
        good = run(shop.url, tmp_path / "good", **keys).report()
        nobody = run(f"http://127.0.0.1:{free_port}", tmp_path / "failed", **keys)
        failed = nobody.report()
        server.shutdown()
    (path, first), (_, second) = server.pushed  # type: ignore[attr-defined]
    assert path == "/metrics/job/graildient_scrape"
    assert f"graildient_scrape_listings_written_total {float(good['listings'])}" in first
    invalid = float(good["quarantined"]["invalid"])
    assert f'graildient_scrape_quarantined_total{{cause="invalid"}} {invalid}' in first
    assert "graildient_scrape_exit_code 0.0" in first
    assert "graildient_scrape_newest_sale_timestamp_seconds 1.78" in first
    assert "graildient_scrape_last_success_timestamp_seconds" in first
    assert (failed["exit_code"], failed["listings"]) == (1, 0)
    assert "refused" in failed["problems"][0].lower()
    assert "Traceback" not in nobody.log.read_text()
    assert "graildient_scrape_exit_code 1.0" in second
    assert "last_success" not in second
    names = {line.split("{")[0].split(" ")[0] for line in first.splitlines() if not line.startswith("#")}
    assert all(name.startswith("graildient_scrape_") for name in names)


def test_a_file_is_served_as_the_contract_reads_it(tmp_path: Path) -> None:
    sale = {"sold_at": "2024-03-01T10:00:00.123456Z", "created_at": "2024-02-01T00:00:00Z"}
    paid = {"sold_price": 115, "sold_price_includes_shipping": True, "sold_shipping_price": 15}
    rows: list[dict[str, object]] = [
        {"id": 1, "title": "A", "seller_hash": "ab", **sale, **paid},
        {"id": 2, "title": "B", "sold_price": "$1,250 (Sold Price)"},
        {"id": 3, "title": "C", "sold": False, "price": 20},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    catalogue = from_file(path)
    read = {r.listing.id: r.listing for r in read_listings(path, sold=True) if r.listing}
    assert set(read) == {1, 2}
    assert {n: parse_hit(hit) for n, hit in catalogue.by_id().items() if n != 3} == read
    assert [hit["id"] for hit in catalogue.active] == [3]
    assert catalogue.by_id()[2]["time_is_estimated"] is True
    assert read[1].sold_price == 100
