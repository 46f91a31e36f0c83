"""`make bench-search`: what Ray Tune costs, what it loses when killed, and what it is good for.

    python -m benchmarks.search [--rows N] [--trials N] [--repeat N]

Four questions, each beside a peer in the same run, on generated listings and two processes:

* 64 fixed trials by the search and by a plain process pool, in turn; medians of the runs. From the moment
  when the first trial begins to train to that when the driver knows the last result; beside it, the times
  with the start of the workers and their imports, and that of Ray.
* How much the driver's memory grows with a trial.
* A search that is killed (SIGKILL, driver and workers at once) half-way: iterations that are trained twice.
* The search with its successive halving against plain Optuna: the same sampler, as many trials, two
  processes, each trial to its end. Time until both have found the score of the less lucky one.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.report import Figure, at_most, publish, told
from training.fit import Prepared
from training.search import Fit
from training.search_batches import STARTUP, Batches, rungs
from training.search_checkpoint import Checkpoints
from training.search_ray import ray_session
from training.search_space import load_space
from training.search_trial import Curve

ITERATIONS = 300
SEED = 7
WORKERS = 2
SPACE = load_space("default")
KILLED_TRIALS = 4
LONG = 1500
"""Iterations of the trials that are killed."""
KEEP_SECONDS = 1


def load_fit(folder: Path, kind: type[Fit] = Fit) -> Fit:
    return kind(Prepared.load(folder / "train"), Prepared.load(folder / "valid"), ITERATIONS, SEED)


@dataclass(frozen=True)
class StampedFit(Fit):
    """Writes down when a trial begins to train."""

    stamps: str = ""

    def __call__(self, params: dict[str, Any], curve: Any, kept: Any = None) -> object:
        with open(f"{self.stamps}-{os.getpid()}", "a") as out:
            out.write(f"{time.time()}\n")
        return super().__call__(params, curve, kept)


def stamped(fit: Fit, stamps: str) -> StampedFit:
    return StampedFit(fit.train, fit.valid, fit.iterations, fit.seed, stamps)


def since_first(stamps: Path) -> float:
    """Seconds since the first of the trials began."""
    files = stamps.parent.glob(f"{stamps.name}-*")
    return time.time() - min(float(line) for file in files for line in file.read_text().splitlines())


# ---- plain processes ------------------------------------------------------------------------

_fit: list[Fit] = []


def _begin(folder: Path, stamps: str) -> None:
    _fit.append(stamped(load_fit(folder), stamps))


def _train(params: dict[str, Any], patience: int) -> tuple[float, int]:
    curve = Curve((), (), patience, lambda _: None)
    _fit[0](params, curve)
    result = curve.result(done=True)
    return result["score"], result["iteration"]


@contextlib.contextmanager
def pool(folder: Path, stamps: Path) -> Iterator[ProcessPoolExecutor]:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, spawn, initializer=_begin, initargs=(folder, str(stamps))) as workers:
        yield workers


def plain_trials(
    folder: Path, stamps: Path, params: list[dict[str, Any]]
) -> tuple[float, float, list[float]]:
    """Seconds without and with the start of the workers, and the scores in order."""
    started = time.perf_counter()
    with pool(folder, stamps) as workers:
        scores = [score for score, _ in workers.map(_train, params, [ITERATIONS] * len(params))]
        trained = since_first(stamps)
    return trained, time.perf_counter() - started, scores


def plain_optuna(folder: Path, stamps: Path, trials: int, seed: int) -> list[tuple[float, float]]:
    """Seconds and score of each trial, as they end."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=STARTUP, multivariate=True, constant_liar=True
    )
    study = optuna.create_study(direction="minimize", sampler=sampler)
    study.enqueue_trial({name: parameter.default for name, parameter in SPACE.items()})
    distributions = {name: parameter.distribution() for name, parameter in SPACE.items()}
    ended, asked = [], 0
    running: dict[Future[tuple[float, int]], Any] = {}
    with pool(folder, stamps) as workers:
        while asked < trials or running:
            while asked < trials and len(running) < WORKERS:
                trial = study.ask(distributions)
                running[workers.submit(_train, trial.params, ITERATIONS)] = trial
                asked += 1
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                score = future.result()[0]
                study.tell(running.pop(future), score)
                ended.append((since_first(stamps), score))
    return ended


# ---- the search -----------------------------------------------------------------------------


@dataclass
class Searched:
    """A search, watched: memory of the driver and the best score after each trial.

    `trained`: seconds from the start of the first trial; `seconds`: of the whole run.
    """

    batches: Batches
    trained: float = 0.0
    seconds: float = 0.0
    memory: dict[int, float] = field(default_factory=dict)
    best: list[tuple[float, float]] = field(default_factory=list)

    def growth(self) -> float:
        """MB a trial, by least squares, without the first trials, in which everything is loaded."""
        points = [(n, m) for n, m in self.memory.items() if n >= len(self.batches.records) // 4]
        return float(np.polyfit([n for n, _ in points], [m for _, m in points], 1)[0])


def search(
    fit: Fit,
    folder: Path,
    *,
    trials: int,
    given: list[dict[str, Any]] | None = None,
    keep: int = 5,
    halving: bool = True,
    seed: int = SEED,
) -> Searched:
    """`given`: parameters after the defaults. Ray is up already."""
    from training.search_tune import run_batched

    batches = Batches(
        folder,
        SPACE,
        trials=trials,
        size=WORKERS,
        seed=seed,
        identity={"trials": trials},
        warm=given or [],
        checkpoints=Checkpoints(str(folder / "checkpoints"), keep),
    )
    found, started, process = Searched(batches), time.perf_counter(), psutil.Process()
    stamps = folder / "stamps"

    def progress(_running: object) -> None:
        ended = len(batches.records)
        if ended not in found.memory:
            found.memory[ended] = process.memory_info().rss / 1e6
            if batches.best is not None and batches.best.score is not None:
                found.best.append((since_first(stamps), batches.best.score))
            if ended == trials:
                found.trained = since_first(stamps)

    levels = rungs(ITERATIONS) if halving else ()
    limits = {"iterations": ITERATIONS, "patience": ITERATIONS}
    train = stamped(fit, str(stamps.resolve()))
    run_batched(train, batches, levels, limits, folder / "scratch", progress)
    found.seconds = time.perf_counter() - started
    return found


# ---- killed half-way ------------------------------------------------------------------------


class CountedFit(Fit):
    """Adds a byte to a file with each iteration that is really trained."""

    def __call__(self, params: dict[str, Any], curve: Any, kept: Any = None) -> object:
        assert kept is not None
        follow: Callable[[Any], bool] = curve.follow
        name = kept.folder.parent.parent / f"count-{kept.folder.name}"

        def counting(scores: Any) -> bool:
            with open(name, "ab") as out:
                out.write(b".")
            return follow(scores)

        curve.follow = counting
        return super().__call__(params, curve, kept)


def killed(rows: Path, folder: Path) -> list[Figure]:
    """Kill a search of few long trials while its first two run; then let another one end it."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.search", "--child", str(rows), str(folder)]
    process = subprocess.Popen(command, start_new_session=True)
    family = [psutil.Process(process.pid)]
    until = time.monotonic() + 120
    counts = {n: folder / f"count-{n:03d}" for n in range(KILLED_TRIALS)}

    def done(number: int) -> int:
        return counts[number].stat().st_size if counts[number].exists() else 0

    while min(done(0), done(1)) < LONG // 2:
        if process.poll() is not None or time.monotonic() > until:
            raise SystemExit("the search that was to be killed did not get so far")
        time.sleep(0.01)
    mark = {n: done(n) for n in counts}
    time.sleep(KEEP_SECONDS)
    family += family[0].children(recursive=True)
    for member in family:
        with contextlib.suppress(psutil.Error):
            member.kill()
    process.wait()
    psutil.wait_procs(family, timeout=10)
    before = {n: done(n) for n in counts if done(n)}
    again = _killed_search(load_fit(rows, CountedFit), folder)
    lost = sum(before[n] - again.batches.resumed.get(n, 0) for n in before)
    # A snapshot is due that long after the last one, at the end of an iteration.
    limit = sum(before[n] - mark[n] + 1 for n in before)
    return [
        at_most(
            f"SIGKILL of driver and workers: iterations lost by {len(before)} trials",
            "iterations",
            lost,
            limit,
            f"those of the last {KEEP_SECONDS} s, the time between snapshots",
        ),
        told("  of those that they had done", "iterations", lost, sum(before.values()), "without snapshots"),
    ]


def _killed_search(fit: Fit, folder: Path) -> Searched:
    from training.search_tune import run_batched

    long = replace(fit, iterations=LONG)
    batches = Batches(
        folder,
        SPACE,
        trials=KILLED_TRIALS,
        size=WORKERS,
        seed=SEED,
        identity={"killed": True},
        checkpoints=Checkpoints(str(folder / "checkpoints"), KEEP_SECONDS),
    )
    limits = {"iterations": LONG, "patience": LONG}
    run_batched(long, batches, (), limits, folder / "scratch", lambda _: None)
    return Searched(batches)


def child(rows: Path, folder: Path) -> int:
    """The search that is killed."""
    with ray_session(cpus=WORKERS, address="", data_bytes=0):
        _killed_search(load_fit(rows, CountedFit), folder)
    return 0


# ---- the whole ------------------------------------------------------------------------------


def fixed(trials: int) -> list[dict[str, Any]]:
    """The defaults, then parameters drawn evenly from the space."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=SEED))
    study.enqueue_trial({name: parameter.default for name, parameter in SPACE.items()})
    distributions = {name: parameter.distribution() for name, parameter in SPACE.items()}
    return [study.ask(distributions).params for _ in range(trials)]


def first_at(points: list[tuple[float, float]], score: float) -> float:
    """When a score was reached."""
    return next(seconds for seconds, found in points if found <= score)


def overhead(rows: Path, room: Path, trials: int, repeat: int) -> list[Figure]:
    params, fit = fixed(trials), load_fit(rows)
    ours, theirs, growth = [], [], []
    for number in range(repeat):
        *seconds, scores = plain_trials(rows, room / f"pool-{number}", params)
        found = search(fit, room / f"fixed-{number}", trials=trials, given=params[1:], halving=False)
        records = found.batches.records
        if [records[n].score for n in range(trials)] != scores:
            raise SystemExit("the two did not train the same trials")
        theirs.append(seconds)
        ours.append([found.trained, found.seconds])
        growth.append(found.growth())
        print(f"pool {seconds}, search {ours[-1]}, {growth[-1]:.2f} MB", file=sys.stderr)
    (mine, whole), (plain, plain_whole) = np.median(ours, axis=0), np.median(theirs, axis=0)
    ratio = statistics.median(o[0] / t[0] for o, t in zip(ours, theirs, strict=True))
    name, peer = f"{trials} fixed trials", "a plain process pool"
    fair = Figure(
        name,
        "s",
        round(float(mine), 2),
        peer,
        round(float(plain), 2),
        round(ratio, 4),
        "ratio <= 1.10",
        ratio <= 1.10,
    )
    return [
        fair,
        told("  with the start of the workers", "s", float(whole), float(plain_whole), peer),
        at_most("driver memory a trial", "MB", statistics.median(growth), 1.0),
    ]


def against_optuna(rows: Path, room: Path, trials: int, repeat: int) -> list[Figure]:
    fit, ours, theirs, whole, plain = load_fit(rows), [], [], [], []
    for number in range(repeat):
        points = plain_optuna(rows, room / f"plain-{number}", trials, SEED + number)
        found = search(fit, room / f"optuna-{number}", trials=trials, seed=SEED + number)
        target = max(min(score for _, score in points), min(score for _, score in found.best))
        ours.append(first_at(found.best, target))
        theirs.append(first_at(points, target))
        whole.append(found.trained)
        plain.append(points[-1][0])
        print(f"score {target:.5f}: Optuna {theirs[-1]:.1f} s, search {ours[-1]:.1f} s", file=sys.stderr)
    peer = "plain Optuna"
    median = statistics.median
    return [
        at_most("time to the same score", "s", median(ours), round(median(theirs), 2), peer),
        told(f"  all of the {trials} trials", "s", median(whole), median(plain), peer),
    ]


def main() -> int:
    """Run and publish."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=5000, help="generated listings")
    parser.add_argument("--trials", type=int, default=64, help="fixed trials")
    parser.add_argument("--compared", type=int, default=16, help="trials against plain Optuna")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--child", nargs=2, type=Path, metavar=("ROWS", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(*options.child)
    from benchmarks.search_rows import make_rows  # workers import this module again, and need no rows

    with tempfile.TemporaryDirectory(prefix="bench-search-") as name:
        room = Path(name)
        make_rows(room / "rows", options.rows, SEED)
        began = time.perf_counter()
        with ray_session(cpus=WORKERS, address="", data_bytes=0):
            start = time.perf_counter() - began
            figures = overhead(room / "rows", room, options.trials, options.repeat)
            figures += killed(room / "rows", room / "killed")
            figures += against_optuna(room / "rows", room, options.compared, options.repeat)
    figures.append(told("start of Ray, in no figure above", "s", start, figures[0].ours, "the fixed trials"))
    title = f"search, {options.rows} generated listings, {ITERATIONS} iterations, {WORKERS} processes"
    return publish("search", figures, title)


if __name__ == "__main__":
    sys.exit(main())
