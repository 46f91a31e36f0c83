"""Steps that were done before are not done again: a cache by content, one marker a step.

A step's marker (`runs/<run id>/steps/<step>.json`) holds what went in and the SHA-256 of what came
out. The step is reused when both are as they were; otherwise it says why not. The marker is written
last, so a step that was killed has none.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from graildient.errors import StorageError
from graildient.storage import Storage


@dataclass(frozen=True)
class Step:
    """A step that has run. `outputs`: path below the run's folder to SHA-256. `value`: what it answers."""

    name: str
    inputs: dict[str, Any]
    outputs: dict[str, str]
    value: dict[str, Any]
    started_at: str
    seconds: float
    reused: bool = False
    reason: str = ""


def fingerprint(content: object) -> str:
    """SHA-256 of JSON content; mappings compare by content, not by order."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def cached(
    storage: Storage,
    run: str,
    name: str,
    inputs: Mapping[str, Any],
    work: Callable[[], tuple[dict[str, Any], list[str]]],
    *,
    reuse: bool = True,
    since: Callable[[], str] = lambda: "",
) -> Step:
    """Do a step of a run, unless it was done on the same inputs and its outputs are still as they were.

    Args:
        run: the run's folder, relative to the root.
        inputs: whatever decides what comes out, as JSON types.
        work: does it; gives the step's answer and the paths (below the run's folder) that it wrote.
        reuse: False does it anew in any case.
        since: what changed since the run before, asked when this run has never done the step.
    """
    marker = f"{run}/steps/{name}.json"
    last = _read(storage, marker)
    reason = _why_not(storage, run, last, dict(inputs)) if reuse else "the cache is off"
    if last is None and reuse:
        reason = ", ".join(filter(None, (reason, since())))
    if last is not None and not reason:
        return Step(**(last | {"reused": True, "reason": "same inputs, and its outputs are unchanged"}))
    started, clock = datetime.now(UTC), time.monotonic()
    value, paths = work()
    step = Step(
        name=name,
        inputs=dict(inputs),
        outputs={path: _sha256(storage, f"{run}/{path}") for path in sorted(paths)},
        value=value,
        started_at=started.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - clock, 3),
        reason=reason,
    )
    storage.write_bytes(marker, (json.dumps(asdict(step), indent=1, sort_keys=True) + "\n").encode())
    return step


def read_steps(storage: Storage, run: str) -> list[Step]:
    """The finished steps of a run, in the order in which they began."""
    names = storage.list(f"{run}/steps")
    found = [_read(storage, f"{run}/steps/{name}") for name in names if name.endswith(".json")]
    return sorted((Step(**f) for f in found if f is not None), key=lambda step: step.started_at)


def _why_not(storage: Storage, run: str, last: dict[str, Any] | None, inputs: dict[str, Any]) -> str:
    if last is None:
        return "not done before"
    before = last["inputs"]
    changed = [key for key in sorted(set(before) | set(inputs)) if before.get(key) != inputs.get(key)]
    if changed:
        return f"changed: {', '.join(changed)}"
    for path, sha256 in last["outputs"].items():
        try:
            if _sha256(storage, f"{run}/{path}") != sha256:
                return f"its output {path} was changed"
        except StorageError:
            return f"its output {path} is gone"
    return ""


def _read(storage: Storage, path: str) -> dict[str, Any] | None:
    if not storage.exists(path):
        return None
    try:
        content = json.loads(storage.read_bytes(path))
        return asdict(Step(**content))
    except (ValueError, TypeError):
        return None  # of another release; done anew


def _sha256(storage: Storage, path: str) -> str:
    return hashlib.sha256(storage.read_bytes(path)).hexdigest()
