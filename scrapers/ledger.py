"""What the scraper remembers between runs, and the lock that keeps runs apart.

The newest sale in the lake does not tell that everything before it is there: a run that was
killed may have left a hole. So the next sweep starts from what a finished one has covered.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from graildient.errors import StorageError
from graildient.storage import Storage

LEDGER = "lake/sold_sweep.json"
LOCK = "lake/.scrape.lock"


@dataclass(frozen=True)
class Covered:
    """Sales of [start, end) that finished sweeps have brought into the lake; `end` is the newest they met."""

    start: datetime
    end: datetime

    def joined(self, start: datetime, end: datetime) -> Covered:
        """With a further swept range, if the two touch; else as it is."""
        if start > self.end or end < self.start:
            return self
        return Covered(min(start, self.start), max(end, self.end))


def read_covered(storage: Storage) -> Covered | None:
    """What finished sweeps have covered; None before the first.

    Raises:
        StorageError: the file is there and cannot be understood.
    """
    if not storage.exists(LEDGER):
        return None
    try:
        found = json.loads(storage.read_bytes(LEDGER))
        return Covered(datetime.fromisoformat(found["start"]), datetime.fromisoformat(found["end"]))
    except (ValueError, KeyError, TypeError):
        raise StorageError(
            f"{storage.url(LEDGER)} is not what a sweep wrote",
            hint="remove it; the next sweep then starts anew",
        ) from None


def write_covered(storage: Storage, covered: Covered) -> None:
    """Remember what is covered."""
    body = {
        "start": covered.start.astimezone(UTC).isoformat(),
        "end": covered.end.astimezone(UTC).isoformat(),
    }
    storage.write_bytes(LEDGER, json.dumps(body).encode())


@contextmanager
def only_run(storage: Storage) -> Iterator[None]:
    """Holds the lake's lock. The system frees it when the process ends, however it ends.

    A bucket has no locks: there the schedule forbids two runs at once, and the lake's idempotent
    writes make them harmless.

    Raises:
        StorageError: another run writes this lake.
    """
    if not storage.is_local:
        yield
        return
    import fcntl

    path = storage.local(LOCK)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = open(path, "a+", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise StorageError(f"cannot write {path.parent}: {error.strerror}") from None
    with held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            held.seek(0)
            owner = held.read().strip() or "unknown"
            raise StorageError(
                f"another scrape (process {owner}) writes the lake at {storage.url('lake')}",
                hint="wait until it has finished, or use another root",
            ) from None
        held.seek(0)
        held.truncate()
        held.write(str(os.getpid()))
        held.flush()
        for part in storage.local("lake").rglob(".*.part"):
            # What a killed run was writing: never seen by a reader, and nobody's any more.
            part.unlink(missing_ok=True)
        yield
