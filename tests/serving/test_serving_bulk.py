"""Files of listings: every row in its place, with a price or a reason."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from serving_support import FEATURES, Server, Workspace

from graildient.errors import ModelNotFound, StorageError
from graildient.settings import ServingSettings
from serving import bulk
from serving.bulk import score_file

SERVING = ServingSettings()
ROWS: list[dict[str, Any]] = [
    {"id": 11, "title": "Jacket", "designers": "Carhartt", "category": "outerwear", "condition": "used"},
    {"id": 12, "title": "Boots", "designers": "Prada × Vintage", "category": "footwear", "condition": "mint"},
    {"id": 13, "title": "", "designers": "Nike", "category": "tops", "condition": "new"},
    {"id": 14, "title": "Tee", "designers": "Uniqlo", "category": "tops", "condition": "new"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        body = text.getvalue().encode()
        path.write_bytes(gzip.compress(body) if path.suffix == ".gz" else body)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with open(path, newline="") as file:
        return [{k: v or None for k, v in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize("source", ["in.csv", "in.csv.gz", "in.jsonl", "in.parquet"])
@pytest.mark.parametrize("target", ["out.csv", "out.jsonl", "out.parquet"])
def test_every_format_gives_the_server_s_prices(
    workspace: Workspace, server: Server, tmp_path: Path, source: str, target: str
) -> None:
    told: list[tuple[float, float | None]] = []
    report = score_file(
        write(tmp_path / source, ROWS),
        tmp_path / target,
        workspace.storage,
        FEATURES,
        SERVING,
        report=lambda stage, *, done, total=None, note="": told.append((done, total)),
    )
    rows = read(tmp_path / target)
    assert (report.rows, report.refused, report.path) == (4, 2, tmp_path / target)
    assert [int(row["row"]) for row in rows] == [1, 2, 3, 4]
    assert [row["price"] is None for row in rows] == [False, True, True, False]
    assert "condition" in rows[1]["error"]
    assert "title" in rows[2]["error"]
    for row, listing in ((rows[0], ROWS[0]), (rows[3], ROWS[3])):
        (expected,) = server.v1(listing)
        assert [float(row[k]) for k in ("price", "low", "high")] == [
            expected[k] for k in ("price", "low", "high")
        ]
        assert (row["market"], row["model_version"]) == (expected["market"], expected["model_version"])
        assert (int(row["id"]), row["error"]) == (listing["id"], None)
    assert told[-1] == (4, 4)
    assert report.market == {"partial": 2}


def test_chunks_make_no_difference(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "in.jsonl", ROWS * 3)
    score_file(source, tmp_path / "one.csv", workspace.storage, FEATURES, SERVING)
    monkeypatch.setattr(bulk, "CHUNK", 5)
    score_file(source, tmp_path / "many.csv", workspace.storage, FEATURES, SERVING)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "many.csv").read_bytes()


def test_the_default_target_lies_beside_the_source(workspace: Workspace, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv.gz", ROWS)
    report = score_file(source, None, workspace.storage, FEATURES, SERVING)
    assert report.path == tmp_path / "in.prices.csv"
    assert len(read(report.path)) == 4


def test_what_cannot_be_done_is_said_and_leaves_nothing(workspace: Workspace, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", ROWS)
    for target, reason in ((tmp_path / "out.xlsx", "xlsx"), (source, "to be read")):
        with pytest.raises(StorageError, match=reason):
            score_file(source, target, workspace.storage, FEATURES, SERVING)
    with pytest.raises(StorageError):
        score_file(tmp_path / "absent.csv", None, workspace.storage, FEATURES, SERVING)
    with pytest.raises(ModelNotFound):
        score_file(source, None, workspace.storage, FEATURES, ServingSettings(model="challenger"))
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        score_file(source, tmp_path / "file" / "out.csv", workspace.storage, FEATURES, SERVING)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "in.csv"]


def test_without_an_online_store_prices_go_on(workspace: Workspace, tmp_path: Path) -> None:
    own = workspace.copy(tmp_path / "root")
    (own.root / "features" / "online.db").unlink()
    source = write(tmp_path / "in.csv", ROWS)
    report = score_file(source, tmp_path / "out.csv", own.storage, FEATURES, SERVING)
    assert report.market == {"unavailable": 2}
    assert [row["price"] is None for row in read(report.path)] == [False, True, True, False]
