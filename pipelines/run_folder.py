"""The folder of a run, `runs/<run id>` below the root, and a local one to work in.

On a local root both are the same. On `s3://` a step works in a scratch folder: it is filled with
what the run has, and what the step made is uploaded at its end.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.config import RunConfig


def run_path(run_id: str, name: str = "") -> str:
    """A path of a run, relative to the root."""
    return f"runs/{run_id}/{name}" if name else f"runs/{run_id}"


@contextmanager
def local_folder(config: RunConfig, run_id: str, *names: str) -> Iterator[Path]:
    """A local folder that holds the files and folders `names` of a run, which are kept afterwards."""
    storage = config.root
    if storage.is_local:
        folder = storage.local(run_path(run_id))
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    digest = hashlib.sha256(storage.url(run_path(run_id)).encode()).hexdigest()[:16]
    folder = config.storage.scratch / "runs" / digest
    for name in names:
        shutil.rmtree(folder / name, ignore_errors=True)
        for path in files_below(config, run_id, name):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(storage.read_bytes(run_path(run_id, path)))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        # Also what a failed step has: a search goes on where it was.
        made = [
            p for name in names for p in [folder / name, *sorted((folder / name).rglob("*"))] if p.is_file()
        ]
        for file in made:
            storage.write_bytes(run_path(run_id, file.relative_to(folder).as_posix()), file.read_bytes())


def files_below(config: RunConfig, run_id: str, name: str) -> list[str]:
    """Paths, relative to the run, of a file or of the files below a folder; sorted."""
    storage, prefix = config.root, f"{run_path(run_id)}/"
    found = storage.glob(run_path(run_id, f"{name}/**"))
    if storage.is_local:
        found = [path for path in found if storage.local(path).is_file()]
    else:
        found = [path for path in found if storage.fs.isfile(storage.url(path))]
    if (
        not found
        and storage.exists(run_path(run_id, name))
        and not storage.fs.isdir(storage.url(run_path(run_id, name)))
    ):
        found = [run_path(run_id, name)]
    return [path.removeprefix(prefix) for path in found]
