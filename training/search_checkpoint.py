"""What a killed trial goes on from: CatBoost's own snapshots, one folder a trial.

A model that goes on from a snapshot is the model of an undisturbed training, bit for bit, and so is
its curve: the snapshot holds the scores of all iterations, and the trial reports them once more.
(To go on from a saved model, CatBoost's `init_model`, is not the same: it draws other random numbers.)

The snapshots lie in the folder of the search and not in Ray Tune's checkpoints: one mechanism serves
both modes, nothing of it passes through the driver, and a trial loses what it did since the last
snapshot, not since its last report.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graildient.errors import StorageError
from graildient.storage import Storage

FOLDER = "checkpoints"
SNAPSHOT = "snapshot"


@dataclass
class Kept:
    """The snapshot of one trial. CatBoost writes it whole, under another name first."""

    folder: Path
    seconds: int
    storage: Storage | None = None
    path: str = ""
    _sent: int = 0

    @property
    def snapshot(self) -> Path:
        return self.folder / SNAPSHOT

    def options(self) -> dict[str, Any]:
        """What CatBoostRegressor is told."""
        return {
            "allow_writing_files": True,
            "train_dir": str(self.folder),
            "save_snapshot": True,
            "snapshot_file": str(self.snapshot),
            "snapshot_interval": self.seconds,
        }

    def send(self) -> None:
        """Bring a new snapshot to where the next worker finds it; on this machine it is there already."""
        if self.storage is None:
            return
        with suppress(StorageError, OSError):  # the trial is worth more than its snapshot
            written = self.snapshot.stat().st_mtime_ns
            if written != self._sent:
                self.storage.write_bytes(self.path, self.snapshot.read_bytes())
                self._sent = written

    def forget(self) -> None:
        """A snapshot that CatBoost does not take is none."""
        self.snapshot.unlink(missing_ok=True)


@dataclass(frozen=True)
class Checkpoints:
    """Where the trials of a search keep their snapshots.

    `root`: a folder or `s3://bucket/prefix` that every worker reaches; `endpoint`: of an S3 server other
    than the default one. `seconds`: least time between two snapshots of a trial; 0: one an iteration.
    """

    root: str
    seconds: int
    endpoint: str | None = None

    @contextmanager
    def of(self, name: str) -> Iterator[Kept]:
        """The snapshot of a trial; what an earlier worker left is there.

        Raises:
            StorageError: it can be neither read nor written.
        """
        storage = Storage(self.root, endpoint=self.endpoint)
        if storage.is_local:
            folder = storage.local(name)
            folder.mkdir(parents=True, exist_ok=True)
            yield Kept(folder, self.seconds)
            return
        scratch, path = Path(tempfile.mkdtemp(prefix="gd-trial-")), f"{name}/{SNAPSHOT}"
        try:
            kept = Kept(scratch, self.seconds, storage, path)
            if storage.exists(path):
                kept.snapshot.write_bytes(storage.read_bytes(path))
            yield kept
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def remove(self, name: str = "") -> None:
        """The snapshot of a trial that has ended; without a name, those of all."""
        storage = Storage(self.root, endpoint=self.endpoint)
        if storage.is_local:
            shutil.rmtree(storage.local(name), ignore_errors=True)
        else:
            storage.remove(name)
