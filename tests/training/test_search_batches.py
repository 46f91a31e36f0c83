"""Every decision of a search is a function of finished batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.search_batches import Batches, Record, cutoffs, rungs
from training.search_space import defaults, load_space

SPACE = load_space("quick")


def make(
    folder: Path, *, trials: int = 7, size: int = 2, seed: int = 7, about: str = "these rows"
) -> Batches:
    return Batches(folder, SPACE, trials=trials, size=size, seed=seed, identity={"about": about})


def result_of(start: dict[str, Any]) -> Record:
    """How a trial of a made-up objective ends: it is better near a learning rate of 0.15."""
    score = 0.5 + abs(start["params"]["learning_rate"] - 0.15) + start["params"]["depth"] / 100
    values = {"25": score + 0.2, "50": score + 0.1}
    stopped = [int(r) for r, limit in start["cutoffs"].items() if values.get(r, 0) > limit]
    if stopped:
        reached = {r: v for r, v in values.items() if int(r) <= stopped[0]}
        last = reached[str(stopped[0])]
        return Record(start["number"], start["params"], "stopped", last, stopped[0], stopped[0], reached)
    return Record(start["number"], start["params"], "complete", score, 90, None, values)


def run(batches: Batches, *, stop_after: int | None = None, newest_first: bool = False) -> None:
    """Run what may run, in an order that timing could have led to."""
    done = 0
    while batches.left():
        ready = [n for n in batches.left() if batches.start(n) is not None]
        started = [batches.start(n) for n in ready[: 2 * batches.size]]
        for start in reversed(started) if newest_first else started:
            assert start is not None
            batches.finish(result_of(start), seconds=1.0)
            done += 1
            if done == stop_after:
                return


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.glob("*.json") if p.name != "timings.json"}


def test_rungs_halve_the_iterations() -> None:
    assert rungs(600) == (75, 150, 300)
    assert rungs(100) == (12, 25, 50)
    assert rungs(3) == (1,)
    assert rungs(1) == ()


def test_a_rung_cuts_off_the_worse_half_once_two_trials_have_passed_it() -> None:
    one = Record(0, {}, "complete", 0.5, 9, None, {"10": 0.9, "20": 0.7})
    two = Record(1, {}, "stopped", 0.8, 9, 10, {"10": 0.8})
    three = Record(2, {}, "failed")
    assert cutoffs([]) == {}
    assert cutoffs([one]) == {}
    assert cutoffs([one, two, three]) == {"10": 0.8500000000000001}


def test_the_first_trial_takes_the_defaults(tmp_path: Path) -> None:
    start = make(tmp_path).start(0)
    assert start == {"number": 0, "params": defaults(SPACE), "cutoffs": {}}


def test_a_trial_waits_for_the_batches_that_decide_it(tmp_path: Path) -> None:
    batches = make(tmp_path)
    starts = [batches.start(n) for n in range(7)]
    assert [s is not None for s in starts] == [True] * 4 + [False] * 3
    for start in starts[:2]:
        assert start is not None
        batches.finish(result_of(start), 1.0)
    assert batches.start(4) is not None
    assert batches.start(6) is None


def test_the_order_in_which_trials_end_changes_nothing(tmp_path: Path) -> None:
    run(make(tmp_path / "a"))
    run(make(tmp_path / "b"), newest_first=True)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert len(files(tmp_path / "a")) == 5  # four batches and what the search is about


def test_what_earlier_searches_found_comes_right_after_the_defaults(tmp_path: Path) -> None:
    warm = [{"learning_rate": 0.2, "depth": 4, "l2_leaf_reg": 2.0}, {**defaults(SPACE), "depth": 3}]
    batches = Batches(tmp_path, SPACE, trials=7, size=2, seed=7, identity={}, warm=warm)
    run(batches)
    tried = [batches.records[n].params for n in range(7)]
    assert tried[:3] == [defaults(SPACE), *warm]
    assert all(params not in tried[:3] for params in tried[3:])


def test_no_batch_repeats_another(tmp_path: Path) -> None:
    batches = make(tmp_path)
    run(batches)
    tried = [json.dumps(record.params, sort_keys=True) for record in batches.records.values()]
    assert len(set(tried)) == len(tried)


def test_another_seed_searches_elsewhere(tmp_path: Path) -> None:
    run(make(tmp_path / "a"))
    run(make(tmp_path / "b", seed=8))
    assert files(tmp_path / "a")["batch-001.json"] != files(tmp_path / "b")["batch-001.json"]


def test_killed_after_any_trial_it_ends_as_if_undisturbed(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole")
    run(whole)
    assert {r.state for r in whole.records.values()} == {"complete", "stopped"}
    for after in range(1, 7):
        folder = tmp_path / str(after)
        run(make(folder), stop_after=after, newest_first=bool(after % 2))
        again = make(folder)
        assert len(again.records) == after, "nothing that had ended is run again"
        run(again)
        assert files(folder) == files(tmp_path / "whole")
        assert again.best == whole.best


def test_batches_of_another_search_are_not_taken_over(tmp_path: Path) -> None:
    run(make(tmp_path))
    assert make(tmp_path).left() == []
    assert make(tmp_path, about="other rows").left() == list(range(7))
    assert not list(tmp_path.glob("batch-*.json"))


def test_a_torn_file_is_run_again(tmp_path: Path) -> None:
    run(make(tmp_path))
    before = files(tmp_path)
    (tmp_path / "batch-002.json").write_text('[{"number": 4, "par')
    again = make(tmp_path)
    assert again.left() == [4, 5]
    run(again)
    assert files(tmp_path) == before


def test_the_best_is_the_lowest_score_that_ran_to_its_end(tmp_path: Path) -> None:
    batches = make(tmp_path)
    assert batches.best is None
    for number, state, score in (
        (1, "complete", 0.6),
        (0, "complete", 0.6),
        (2, "stopped", 0.5),
        (3, "failed", None),
    ):
        batches.finish(Record(number, {}, state, score), 1.0)
    assert batches.best is not None
    assert batches.best.number == 0


def test_no_file_but_the_timings_holds_a_time(tmp_path: Path) -> None:
    run(make(tmp_path))
    told = json.loads((tmp_path / "timings.json").read_text())
    assert told == {"seconds": {str(n): 1.0 for n in range(7)}, "resumed": {}}
    assert not any(b"seconds" in content for content in files(tmp_path).values())
