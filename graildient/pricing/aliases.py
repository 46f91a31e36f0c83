"""Names that move between versions: `champion`, `challenger`.

An alias is one small JSON object that carries its own history:

    {"version": …, "promoted_at": …, "reason": …, "previous": …, "history": [{…}, …]}

It is replaced whole: by a rename under a lock on a local folder, by a conditional put
(`If-Match`, `If-None-Match`) on S3. A reader sees the old version or the new one, and of two
writers neither undoes the other unseen.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from graildient.errors import ModelError, StorageError
from graildient.pricing.artifact import ALIAS, VERSION
from graildient.storage import Storage

_ATTEMPTS = 20


class Expected(Enum):
    """Where an alias is expected to point when nobody cares."""

    ANYTHING = "anything"


class Aliases:
    """The aliases below one folder of a storage."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self.storage = storage
        self.folder = folder

    def read(self, name: str) -> dict[str, Any] | None:
        """The alias' object, or None where there is none.

        Raises:
            ModelError: it is not sound.
        """
        path = self._path(name)
        data = read_if_there(self.storage, path)
        if data is None:
            return None
        record = parse_object(data, self.storage.url(path))
        if not VERSION.fullmatch(str(record.get("version"))) or not isinstance(record.get("history"), list):
            raise ModelError(f"{self.storage.url(path)} is no alias: it has no version or no history")
        return record

    def move(self, name: str, version: str, *, reason: str, expected: str | Expected | None) -> None:
        """Point an alias to a version.

        Raises:
            ModelError: it does not point to `expected` (None: it should not exist yet).
        """
        path = self._path(name)
        for _ in range(_ATTEMPTS):
            with self._lock():
                # The tag first: if the object changes before it is read, the put that follows is refused.
                tag = self._tag(path)
                record = self.read(name)
                previous = None if record is None else record["version"]
                if previous == version:
                    return
                if expected is not Expected.ANYTHING and previous != expected:
                    raise ModelError(
                        f"the alias {name!r} points to {previous or 'nothing'} by now, "
                        f"not to {expected or 'nothing'}",
                        hint="compare with the present one again",
                    )
                change = {
                    "version": version,
                    "promoted_at": datetime.now(UTC).isoformat(timespec="microseconds"),
                    "reason": reason,
                    "previous": previous,
                }
                past = [] if record is None else record["history"]
                if self._replace(path, to_json({**change, "history": [*past, change]}), tag):
                    return
        raise StorageError(f"{self.storage.url(path)} kept changing under {_ATTEMPTS} attempts to replace it")

    def _path(self, name: str) -> str:
        return f"{self.folder}/{matching(ALIAS, 'alias', name)}.json"

    @contextmanager
    def _lock(self) -> Iterator[None]:
        if not self.storage.is_local:
            yield
            return
        folder = self.storage.local(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            yield

    def _tag(self, path: str) -> str | None:
        if self.storage.is_local:
            return None
        try:
            return str(self.storage.fs.call_s3("head_object", **_address(self.storage, path))["ETag"])
        except FileNotFoundError:
            return None

    def _replace(self, path: str, data: bytes, tag: str | None) -> bool:
        if self.storage.is_local:
            self.storage.write_bytes(path, data)
            return True
        # A refusal may answer the client's repetition of a put whose first answer was lost.
        return put_if(self.storage, path, data, tag) or read_if_there(self.storage, path) == data


def put_if(storage: Storage, path: str, data: bytes, tag: str | None) -> bool:
    """Put an S3 object if it still has this tag, or (None) if there is none yet; False if refused."""
    condition = {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
    refusals = (404, 409, 412) if tag else (409, 412)
    try:
        storage.fs.call_s3("put_object", Body=data, **_address(storage, path), **condition)
    except OSError as error:
        response = getattr(error.__cause__, "response", {})
        if response.get("ResponseMetadata", {}).get("HTTPStatusCode") in refusals:
            return False
        raise
    return True


def _address(storage: Storage, path: str) -> dict[str, str]:
    bucket, _, key = storage.url(path).split("://", 1)[-1].partition("/")
    return {"Bucket": bucket, "Key": key}


def read_if_there(storage: Storage, path: str) -> bytes | None:
    """A file's bytes, or None where there is none."""
    try:
        return bytes(storage.fs.cat_file(storage.url(path)))
    except FileNotFoundError:
        return None


def to_json(value: dict[str, Any]) -> bytes:
    """An object as the registry writes it: sorted and indented."""
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def parse_object(data: bytes, where: str) -> dict[str, Any]:
    """A JSON object; ModelError, naming `where`, when it is none."""
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ModelError(f"{where} is not a JSON object")
    return value


def matching(pattern: re.Pattern[str], kind: str, value: str) -> str:
    """The name itself, if it is one; nothing that could lead out of its folder is."""
    if not pattern.fullmatch(value) or ".." in value:
        raise ModelError(f"{value!r} is no name for a {kind}: it must match {pattern.pattern}")
    return value


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time; the lock dies with its holder."""
    with open(folder / ".lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
