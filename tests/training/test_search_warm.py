"""What earlier searches hand on, and what a search says of its own end."""

from __future__ import annotations

import json
from typing import Any

from graildient.settings import TrainingSettings
from graildient.storage import Storage
from training.search import Remaining, _checkpoints
from training.search_checkpoint import Checkpoints
from training.search_space import defaults, describe, load_space
from training.search_warm import choose, earlier

SPACE = load_space("quick")


def params(rate: float) -> dict[str, Any]:
    return {"learning_rate": rate, "depth": 4, "l2_leaf_reg": 2.0}


def leave(
    storage: Storage, run: str, *trials: tuple[str, float | None, dict[str, Any]], **about: Any
) -> None:
    """What a finished search leaves."""
    lines = [
        json.dumps({"number": n, "state": state, "score": score, "params": values})
        for n, (state, score, values) in enumerate(trials)
    ]
    folder = f"runs/{run}/search"
    storage.write_bytes(f"{folder}/search.json", json.dumps({"space": describe(SPACE)} | about).encode())
    storage.write_bytes(f"{folder}/trials.jsonl", "\n".join(lines).encode())
    storage.write_bytes(f"{folder}/result.json", b"{}")


def test_the_best_of_each_search_in_turn_the_newest_first(storage: Storage) -> None:
    leave(
        storage,
        "20260101-a",
        ("complete", 0.1, params(0.1)),
        ("complete", 0.3, params(0.2)),
        ("stopped", 0.05, params(0.3)),
        ("failed", None, params(0.4)),
    )
    leave(
        storage,
        "20260201-b",
        ("complete", 0.9, defaults(SPACE)),
        ("complete", 0.8, params(0.2)),
        ("complete", 1.0, params(0.5)),
    )
    first = [params(0.2), params(0.1), params(0.5)]
    assert earlier(storage, SPACE, 9) == first
    assert earlier(storage, SPACE, 2) == first[:2]
    assert earlier(storage, SPACE, 0) == []
    assert earlier(storage, SPACE, 9, but="20260201-b") == [params(0.1), params(0.2)]


def test_other_spaces_and_what_cannot_be_read_count_as_none(storage: Storage) -> None:
    leave(storage, "20260101-a", ("complete", 0.1, params(0.1)), space={"depth": {}})
    leave(storage, "20260102-b", ("complete", 0.1, {"depth": 3}))
    leave(storage, "20260103-c")
    storage.write_bytes("runs/20260103-c/search/trials.jsonl", b"{")
    leave(storage, "20260104-d", ("complete", 0.1, params(0.2)))
    storage.remove("runs/20260104-d/search/result.json")  # it has not ended
    assert earlier(storage, SPACE, 9) == []


def test_none_twice_and_not_the_defaults() -> None:
    one, two = params(0.1), params(0.2)
    assert choose([[defaults(SPACE), one], [one, two], []], SPACE, 9) == [one, two]


def test_the_time_left_follows_the_pace_since_ray_is_up() -> None:
    now = iter([0.0, 30.0, 40.0, 50.0, 250.0])
    clock = Remaining(8, now=lambda: next(now))
    assert clock.left(2) == "", "two were taken over"
    assert clock.left(2.1) == ""
    assert clock.left(3.1) == "about 49 s left"
    assert clock.left(3.1) == "about 98 s left"
    assert clock.left(4.1) == "about 7 min left"
    assert clock.left(8) == ""


def test_where_the_snapshots_lie(storage: Storage) -> None:
    folder = storage.local("runs/r/search")
    here = _checkpoints(TrainingSettings(checkpoint_seconds=9), folder)
    assert here == Checkpoints(str(folder / "checkpoints"), 9)
    assert _checkpoints(TrainingSettings(ray_address="ray://head:10001"), folder) is None
    shared = TrainingSettings(ray_address="ray://head:10001", checkpoint_root="s3://bucket/trials/")
    one, other = _checkpoints(shared, folder), _checkpoints(shared, folder.parent)
    assert one is not None
    assert other is not None
    assert one.root.startswith("s3://bucket/trials/")
    assert one.root != other.root
