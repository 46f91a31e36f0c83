"""Workspaces: one a source, one `up` at a time, found again by the other commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from graildient.errors import StorageError
from graildient.local.workspace import Workspace, enter_current, from_file, synthetic


def test_sources_do_not_share_a_workspace(tmp_path: Path) -> None:
    file = tmp_path / "My Sold.csv.gz"
    file.write_bytes(b"one")
    first = from_file(file)
    file.write_bytes(b"two")
    second = from_file(file)
    assert first.name.startswith("my-sold-")
    assert len({first.name, second.name, synthetic(5000, 7).name, synthetic(5000, 8).name}) == 4


def test_an_absent_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no file at"):
        from_file(tmp_path / "absent.csv")


def test_state_survives_and_a_broken_one_counts_as_none(tmp_path: Path) -> None:
    workspace = Workspace(synthetic(10, 1), tmp_path)
    workspace.finished("scrape", "key")
    assert Workspace(synthetic(10, 1), tmp_path).state() == {"scrape": "key"}
    (workspace.root / "up.json").write_text("{half")
    assert workspace.state() == {}


def test_only_one_up_a_workspace(tmp_path: Path) -> None:
    workspace = Workspace(synthetic(10, 1), tmp_path)
    with workspace.lock(), pytest.raises(StorageError, match="another `graildient up`"), workspace.lock():
        pass
    with workspace.lock():
        pass


def test_other_commands_find_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("GRAILDIENT_ROOT", "GRAILDIENT_FEATURES_CLOCK"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    enter_current()
    import os

    assert "GRAILDIENT_ROOT" not in os.environ
    workspace = Workspace(synthetic(10, 1))
    workspace.make_current()
    enter_current()
    assert os.environ["GRAILDIENT_ROOT"] == str(workspace.root)
    assert os.environ["GRAILDIENT_FEATURES_CLOCK"] == "history"
    monkeypatch.setenv("GRAILDIENT_ROOT", "elsewhere")
    enter_current()
    assert os.environ["GRAILDIENT_ROOT"] == "elsewhere"
