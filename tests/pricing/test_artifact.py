"""The artifact: sealed once, refused by name of file when anything changed since."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graildient.code_version import SOURCES, code_version, digest
from graildient.errors import ArtifactCorrupted, ModelError
from graildient.pricing.artifact import MANIFEST, read_manifest, seal, verify

WHEN = datetime(2021, 1, 31, tzinfo=UTC)
FIELDS: dict[str, Any] = {
    "code_version": "0.1.0+0123456789",
    "training_set_sha256": "ab" * 32,
    "training_from": WHEN - timedelta(days=400),
    "training_until": WHEN - timedelta(days=37),
    "as_of": WHEN,
    "rows": 1200,
    "features": [{"name": "title", "kind": "categorical"}],
    "settings": {"seed": 7},
    "params": {"depth": 6, "learning_rate": 0.1},
    "metrics": {"rmsle": 0.5, "median_rmsle": 1.0},
    "created_at": WHEN,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "text").mkdir(parents=True)
    (folder / "price.cbm").write_bytes(b"trees")
    (folder / "text" / "weights.npz").write_bytes(b"weights")
    return folder


def test_seals_and_verifies(folder: Path) -> None:
    manifest = seal(folder, **FIELDS)

    assert verify(folder) == manifest == read_manifest(folder)
    assert set(manifest.files) == {"price.cbm", "text/weights.npz"}
    # SHA-256 of "trees", from sha256sum.
    assert manifest.files["price.cbm"] == "29d807300a961b0cbdb4f22cc5db866a43d20d87b1e17b7f50c91bab25089940"
    assert manifest.version.startswith("20210131-")


def test_is_deterministic_up_to_created_at(folder: Path) -> None:
    seal(folder, **FIELDS)
    first = (folder / MANIFEST).read_bytes()
    seal(folder, **FIELDS)
    assert (folder / MANIFEST).read_bytes() == first

    later = seal(folder, **{**FIELDS, "created_at": WHEN + timedelta(hours=1)})
    text = (folder / MANIFEST).read_text()
    assert text.replace("2021-01-31T01:00:00Z", "2021-01-31T00:00:00Z").encode() == first

    other = seal(folder, **{**FIELDS, "params": {"depth": 7}})
    assert other.version != later.version


def test_created_at_is_now_unless_given(folder: Path) -> None:
    before = datetime.now(UTC)
    manifest = seal(folder, **{k: v for k, v in FIELDS.items() if k != "created_at"})
    assert before <= manifest.created_at <= datetime.now(UTC)


def test_keeps_a_given_version_and_numpy_scalars(folder: Path) -> None:
    manifest = seal(
        folder, version="v1.2", **{**FIELDS, "metrics": {"rmsle": np.float64(0.5), "n": np.int64(3)}}
    )
    assert manifest.version == "v1.2"
    assert verify(folder).metrics == {"rmsle": 0.5, "n": 3}


def _change(folder: Path) -> None:
    (folder / "price.cbm").write_bytes(b"treeS")


def _remove(folder: Path) -> None:
    (folder / "text" / "weights.npz").unlink()


def _add(folder: Path) -> None:
    (folder / "text" / "more.json").write_text("{}")


def _hide(folder: Path) -> None:
    (folder / ".hidden").write_text("")


def _link(folder: Path) -> None:
    twin = folder.parent / "twin"
    twin.write_bytes(b"trees")
    (folder / "price.cbm").unlink()
    (folder / "price.cbm").symlink_to(twin)


def _link_folder(folder: Path) -> None:
    (folder / "text").rename(folder.parent / "elsewhere")
    (folder / "text").symlink_to(folder.parent / "elsewhere")


def _link_manifest(folder: Path) -> None:
    (folder / MANIFEST).rename(folder.parent / "m.json")
    (folder / MANIFEST).symlink_to(folder.parent / "m.json")


def _pipe(folder: Path) -> None:
    (folder / "price.cbm").unlink()
    os.mkfifo(folder / "price.cbm")


def _lose_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def _tear_manifest(folder: Path) -> None:
    data = (folder / MANIFEST).read_bytes()
    (folder / MANIFEST).write_bytes(data[: len(data) // 2])


def _edit(folder: Path, **changes: object) -> None:
    body = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**body, **changes}))


@pytest.mark.parametrize(
    ("harm", "named", "reason"),
    [
        (_change, "price.cbm", "changed"),
        (_remove, "text/weights.npz", "missing"),
        (_add, "text/more.json", "not in the manifest"),
        (_hide, ".hidden", "not in the manifest"),
        (_link, "price.cbm", "a symbolic link"),
        (_link_folder, "text", "a symbolic link"),
        (_link_manifest, MANIFEST, "a symbolic link"),
        (_pipe, "price.cbm", "not a plain file"),
        (_lose_manifest, MANIFEST, "No such file or directory"),
        (_tear_manifest, MANIFEST, "not JSON"),
        (lambda f: _edit(f, metrics={"rmsle": 0.1}), MANIFEST, "changed"),
        (lambda f: _edit(f, format=2), MANIFEST, "format 2"),
        (lambda f: _edit(f, rows="many"), MANIFEST, "rows"),
        (lambda f: _edit(f, files={"../../etc/passwd": "0" * 64}), MANIFEST, "etc/passwd"),
        (lambda f: _edit(f, files={"/etc/passwd": "0" * 64}), MANIFEST, "etc/passwd"),
        (lambda f: _edit(f, version="../v1"), MANIFEST, "version"),
    ],
)
def test_refuses_what_was_changed_by_name(folder: Path, harm: Any, named: str, reason: str) -> None:
    seal(folder, **FIELDS)
    harm(folder)

    with pytest.raises(ArtifactCorrupted) as refused:
        verify(folder)
    found = {d.field: d.reason for d in refused.value.details}
    assert reason in found[named]
    assert named in refused.value.message


def test_names_every_wrong_file(folder: Path) -> None:
    seal(folder, **FIELDS)
    _change(folder)
    _remove(folder)
    _add(folder)
    with pytest.raises(ArtifactCorrupted) as refused:
        verify(folder)
    assert [d.field for d in refused.value.details] == ["price.cbm", "text/more.json", "text/weights.npz"]


def test_a_torn_manifest_can_be_sealed_again(folder: Path) -> None:
    seal(folder, **FIELDS)
    _tear_manifest(folder)
    seal(folder, **FIELDS)
    verify(folder)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"rows": -1}, "rows"),
        ({"training_set_sha256": "short"}, "training_set_sha256"),
        ({"metrics": {"rmsle": float("nan")}}, "metrics"),
        ({"settings": {"path": Path("x")}}, "settings"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"version": "champion"}, "version"),
        ({"version": "v1/.."}, "version"),
        ({"name": "../x"}, "name"),
    ],
)
def test_refuses_to_seal_wrong_fields(folder: Path, fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelError) as refused:
        seal(folder, **{**FIELDS, **fields})
    assert named in {d.field for d in refused.value.details}
    assert not (folder / MANIFEST).exists()


def test_refuses_to_seal_missing_fields_and_nothing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="code_version"):
        seal(folder, **{k: v for k, v in FIELDS.items() if k != "code_version"})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="without files"):
        seal(tmp_path / "empty", **FIELDS)
    with pytest.raises(ModelError, match="cannot read"):
        seal(tmp_path / "absent", **FIELDS)


@pytest.mark.parametrize("harm", [_link, _link_folder, _hide, _pipe])
def test_refuses_to_seal_what_is_no_plain_file(folder: Path, harm: Any) -> None:
    harm(folder)
    with pytest.raises(ModelError, match="has no place in an artifact"):
        seal(folder, **FIELDS)


def test_code_version_follows_the_sources(tmp_path: Path) -> None:
    version = code_version()
    assert version == code_version()
    release, _, digits = version.partition("+")
    assert release == "0.1.0"
    assert len(digits) == 10

    source = tmp_path / "graildient" / "pricing" / "model.py"
    source.parent.mkdir(parents=True)
    source.write_text("a = 1\n")
    first = digest(tmp_path)
    (tmp_path / "graildient" / "console.py").write_text("decides nothing\n")
    assert digest(tmp_path) == first
    source.write_text("a = 2\n")
    second = digest(tmp_path)
    assert second != first
    source.rename(source.with_name("renamed.py"))
    assert digest(tmp_path) not in (first, second)


def test_every_source_pattern_finds_something() -> None:
    root = Path(__file__).resolve().parents[2]
    assert [pattern for pattern in SOURCES if not any(root.glob(pattern))] == []
