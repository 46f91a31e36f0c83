"""A workspace: one root folder a source, so that listings of different sources never mix."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotenv import load_dotenv

from graildient.errors import StorageError

HOME = Path(".graildient")
CURRENT = HOME / "current"
ENV_FILE = "workspace.env"


def enter_current() -> None:
    """Work on the workspace that `graildient up` used last, unless the environment names a root."""
    if os.environ.get("GRAILDIENT_ROOT"):
        return
    try:
        root = Path(CURRENT.read_text(encoding="utf-8").strip())
    except OSError:
        return
    load_dotenv(root / ENV_FILE, override=False)


@dataclass(frozen=True)
class Source:
    """Where the stand-in marketplace takes its catalogue from: a generator or a file."""

    name: str
    marketplace_args: tuple[str, ...]
    label: str


def synthetic(count: int, seed: int) -> Source:
    """Generated listings, openly labelled so."""
    return Source(
        f"synthetic-{count}-{seed}",
        ("--synthetic", str(count), "--seed", str(seed)),
        f"{count:,} synthetic listings, seed {seed}",
    )


def from_file(path: Path) -> Source:
    """A user's file; its content, not its name, decides whether a workspace can be used again.

    Raises:
        StorageError: no such file.
    """
    if not path.is_file():
        raise StorageError(f"no file at {path}", hint="LISTINGS takes a csv, csv.gz, jsonl or parquet file")
    with open(path, "rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()[:8]
    stem = re.sub(r"[^a-z0-9]+", "-", path.name.lower().split(".")[0]).strip("-") or "listings"
    return Source(f"{stem}-{digest}", ("--listings", str(path.resolve())), f"listings of {path.name}")


class Workspace:
    """The folder of one source, and what has been done in it."""

    def __init__(self, source: Source, home: Path | None = None) -> None:
        self.source = source
        self.root = ((home or HOME) / source.name).resolve()
        self.root.mkdir(parents=True, exist_ok=True)
        self._state = self.root / "up.json"

    @property
    def env(self) -> dict[str, str]:
        """Settings that every command needs to work on this workspace as `up` does."""
        # A catalogue of the past: its newest sale is its now.
        return {"GRAILDIENT_ROOT": str(self.root), "GRAILDIENT_FEATURES_CLOCK": "history"}

    def make_current(self) -> None:
        """The other commands work on the workspace that was used last."""
        lines = [f"{k}={v}\n" for k, v in self.env.items()]
        (self.root / ENV_FILE).write_text("".join(lines), encoding="utf-8")
        CURRENT.parent.mkdir(parents=True, exist_ok=True)
        part = CURRENT.with_suffix(".part")
        part.write_text(str(self.root), encoding="utf-8")
        os.replace(part, CURRENT)

    def state(self) -> dict[str, Any]:
        """What earlier runs finished: stage name to the key of its inputs."""
        try:
            loaded = json.loads(self._state.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return loaded if isinstance(loaded, dict) else {}

    def finished(self, stage: str, key: str) -> None:
        """Remember that a stage ended well on these inputs."""
        state = self.state() | {stage: key}
        part = self._state.with_suffix(".part")
        part.write_text(json.dumps(state, indent=1, sort_keys=True), encoding="utf-8")
        os.replace(part, self._state)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One `graildient up` a workspace.

        Raises:
            StorageError: another one holds it.
        """
        with open(self.root / "up.lock", "a+", encoding="utf-8") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                handle.seek(0)
                raise StorageError(
                    f"another `graildient up` (process {handle.read().strip() or '?'}) uses {self.root}",
                    hint="stop it with Ctrl-C, or use other listings",
                ) from None
            handle.seek(0)
            handle.truncate()
            handle.write(str(os.getpid()))
            handle.flush()
            yield
