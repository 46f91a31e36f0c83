"""A step is done again exactly when it has to be, and says why."""

from __future__ import annotations

from typing import Any

import pytest

from graildient.errors import NotEnoughData
from graildient.storage import Storage
from pipelines.step_cache import Step, cached, fingerprint, read_steps

RUN = "runs/20260101-abc"
INPUTS: dict[str, Any] = {"code": "1", "settings": {"a": 1, "b": [2, 3]}}


class Counted:
    """Work that writes a file and counts how often it was done."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.times = 0

    def __call__(self) -> tuple[dict[str, Any], list[str]]:
        self.times += 1
        self.storage.write_bytes(f"{RUN}/made/x.bin", b"made")
        return {"n": self.times}, ["made/x.bin"]


@pytest.fixture
def work(storage: Storage) -> Counted:
    return Counted(storage)


def do(work: Counted, **inputs: Any) -> Step:
    return cached(work.storage, RUN, "make", INPUTS | inputs, work)


def test_the_same_inputs_are_not_worked_on_twice(work: Counted) -> None:
    first = do(work)
    assert (first.reused, first.reason, first.value) == (False, "not done before", {"n": 1})
    second = do(work)
    assert (second.reused, second.value, work.times) == (True, {"n": 1}, 1)
    assert "unchanged" in second.reason
    assert (second.started_at, second.outputs) == (first.started_at, first.outputs)


def test_the_order_of_a_mapping_is_no_change(work: Counted) -> None:
    do(work)
    assert do(work, settings={"b": [2, 3], "a": 1}).reused
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})


def test_changed_inputs_are_named(work: Counted) -> None:
    do(work)
    again = do(work, code="2", more=True)
    assert (again.reused, again.reason) == (False, "changed: code, more")


def test_an_output_that_is_gone_or_changed_is_named(work: Counted) -> None:
    do(work)
    work.storage.write_bytes(f"{RUN}/made/x.bin", b"meddled with")
    assert do(work).reason == "its output made/x.bin was changed"
    work.storage.remove(f"{RUN}/made/x.bin")
    assert do(work).reason == "its output made/x.bin is gone"
    assert do(work).reused


def test_a_step_that_fails_or_is_killed_leaves_no_marker(work: Counted, storage: Storage) -> None:
    def fail() -> tuple[dict[str, Any], list[str]]:
        work()
        raise NotEnoughData("too few")

    with pytest.raises(NotEnoughData):
        cached(storage, RUN, "make", INPUTS, fail)
    assert read_steps(storage, RUN) == []
    assert not do(work).reused


def test_without_the_cache_it_is_done_again(work: Counted) -> None:
    do(work)
    again = cached(work.storage, RUN, "make", INPUTS, work, reuse=False)
    assert (again.reused, again.reason, work.times) == (False, "the cache is off", 2)
    assert do(work).reused, "what was done anew is what the next one finds"


def test_a_step_new_to_this_run_says_what_changed_since_another(work: Counted) -> None:
    step = cached(work.storage, RUN, "make", INPUTS, work, since=lambda: "since run x changed: lake")
    assert step.reason == "not done before, since run x changed: lake"
    assert cached(work.storage, RUN, "make", INPUTS, work, since=lambda: "never asked").reused


def test_an_unreadable_marker_is_none(work: Counted, storage: Storage) -> None:
    do(work)
    for broken in (b"{", b'{"name": "make"}', b"[]"):
        storage.write_bytes(f"{RUN}/steps/make.json", broken)
        assert do(work).reason == "not done before"


def test_steps_are_read_in_the_order_in_which_they_began(storage: Storage, work: Counted) -> None:
    assert read_steps(storage, RUN) == []
    do(work)
    cached(storage, RUN, "another", INPUTS, lambda: ({}, []))
    assert {step.name for step in read_steps(storage, RUN)} == {"make", "another"}
