"""One address space for lake, features, registry and runs: a local folder or `s3://bucket/prefix`.

Everything that is written is first complete and then visible: local files are renamed into
place, S3 objects appear whole. Layout below the root:

    lake/sold/sold_date=YYYY-MM-DD/part-*.parquet    sold listings, append-only
    lake/quarantine/date=YYYY-MM-DD/*.jsonl          what broke the contract, with payload and cause
    features/<view>.parquet                          market aggregates as of each day
    features/registry.db, features/online.db         Feast (embedded)
    registry/<model>/versions/<version>/…            model artifacts
    registry/<model>/aliases/<alias>.json            champion, challenger
    runs/<run id>/…                                  what a pipeline run leaves behind
    predictions/date=YYYY-MM-DD/*.parquet            the prediction log
"""

from __future__ import annotations

import os
import secrets
from glob import glob
from pathlib import Path
from typing import Any

import fsspec

from graildient.errors import StorageError

# Inside the class, `list` is its method.
_Names = list[str]


class Storage:
    """A root address and the few file operations that the rooms need.

    Paths given to the methods are relative to the root, with `/` between parts.
    """

    def __init__(self, root: str, *, endpoint: str | None = None) -> None:
        self.is_local = "://" not in root or root.startswith("file://")
        if self.is_local:
            self.root = str(Path(root.removeprefix("file://")).resolve())
            self.fs = fsspec.filesystem("file")
        else:
            self.root = root.rstrip("/")
            options: dict[str, Any] = {"endpoint_url": endpoint} if endpoint else {}
            try:
                self.fs = fsspec.filesystem(root.split("://", 1)[0], **options)
            except (ImportError, ValueError) as error:
                raise StorageError(
                    f"cannot open {root}: {error}",
                    hint="install the group 's3': pip install 'graildient[s3]'",
                ) from None

    def url(self, path: str = "") -> str:
        """Full address of a path."""
        return f"{self.root}/{path}" if path else self.root

    def local(self, path: str = "") -> Path:
        """The path as a local one.

        Raises:
            StorageError: the root is not a local folder.
        """
        if not self.is_local:
            raise StorageError(f"{self.root} is not a local folder", hint="set GRAILDIENT_ROOT to a folder")
        return Path(self.root) / path

    def exists(self, path: str) -> bool:
        return bool(self.fs.exists(self.url(path)))

    def read_bytes(self, path: str) -> bytes:
        """Raises StorageError when there is no such file."""
        try:
            return bytes(self.fs.cat_file(self.url(path)))
        except FileNotFoundError:
            raise StorageError(f"no file at {self.url(path)}") from None
        except OSError as error:
            raise StorageError(f"cannot read {self.url(path)}: {error}") from None

    def write_bytes(self, path: str, data: bytes) -> None:
        """Write whole or not at all; a reader never sees half a file."""
        try:
            if not self.is_local:
                self.fs.pipe_file(self.url(path), data)
                return
            target = self.local(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
            try:
                with open(part, "wb") as out:
                    out.write(data)
                    out.flush()
                    os.fsync(out.fileno())
                os.replace(part, target)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot write {self.url(path)}: {error}") from None

    def list(self, path: str) -> _Names:
        """Names of the entries directly below a folder, sorted; empty when there is no such folder."""
        if self.is_local:
            # fsspec asks for the details of every entry; a lake has thousands.
            try:
                return sorted(name for name in os.listdir(self.local(path)) if not name.startswith("."))
            except (FileNotFoundError, NotADirectoryError):
                return []
        self.fs.invalidate_cache()
        try:
            found = self.fs.ls(self.url(path), detail=False)
        except FileNotFoundError:
            return []
        names = {str(f).rstrip("/").rsplit("/", 1)[-1] for f in found}
        return sorted(n for n in names if not n.startswith("."))

    def glob(self, pattern: str) -> _Names:
        """Paths relative to the root that match a pattern (`*` and `**`), sorted."""
        if self.is_local:
            return sorted(glob(pattern, root_dir=self.root, recursive=True))
        self.fs.invalidate_cache()
        prefix = self.root.split("://", 1)[-1].rstrip("/") + "/"
        found = self.fs.glob(self.url(pattern))
        return sorted(str(f).removeprefix(prefix) for f in found if "/." not in str(f).removeprefix(prefix))

    def remove(self, path: str) -> None:
        """Remove a file or a folder; nothing happens when it is not there."""
        if self.fs.exists(self.url(path)):
            self.fs.rm(self.url(path), recursive=True)
