"""KFP's local runner, made to behave: quiet, followed live, stopped when told, and clean in its errors.

It runs the YAML that a cluster gets, each step in a process of its own. What it leaves (the YAML,
its log, the artifacts that the Kubeflow UI would show) is kept in the run's folder, or in
`runs/failed` when a step failed.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from graildient import errors, progress
from graildient.errors import Detail, GraildientError
from graildient.progress import Reporter
from graildient.storage import Storage
from pipelines.config import RunConfig
from pipelines.entry import ERROR_FILE, PROGRESS_FILE
from training.search_ray import private_folder

FAILED = "runs/failed"
KEPT = ("pipeline.yaml", "pipeline.log", "kfp")


def run_compiled(config: RunConfig, report: Reporter, *, verbose: bool = False) -> str:
    """Compile the pipeline and run the YAML; returns the id of the run.

    Raises:
        GraildientError: of the class and with the message of the step that failed, which it names.
    """
    with private_folder("gd-kfp-") as folder, _environment(folder, report), _ending_children():
        try:
            run_id = _run(config, folder, verbose)
        except BaseException:
            _keep(folder, config.root, FAILED)
            raise
        _keep(folder, config.root, f"runs/{run_id}")
        return run_id


def _run(config: RunConfig, folder: Path, verbose: bool) -> str:
    from pipelines.compile import compile_pipeline

    compiled, outputs = folder / "kept" / "pipeline.yaml", folder / "kept" / "kfp"
    compile_pipeline(compiled)
    with warnings.catch_warnings(), open(folder / "kept" / "pipeline.log", "w", encoding="utf-8") as log:
        warnings.simplefilter("ignore")  # one of them: that our image is not called "python"
        from kfp import components, local

        pipeline = components.load_component_from_file(str(compiled))
        local.init(
            runner=local.SubprocessRunner(use_venv=False),
            pipeline_root=str(outputs),
            workspace_root=str(folder / "workspace"),
            raise_on_error=True,
        )
        try:
            with redirect_stdout(_Both(log, sys.stdout) if verbose else log):
                run_id: Any = pipeline(settings=config.to_json(), root="", cache=config.cache).output
        except RuntimeError as error:
            raise _step_error(folder / "error.json", error, config.root) from None
    # Its SUCCESS is not taken on trust.
    from pipelines.pipeline import STEPS

    silent = [step for step in STEPS if not list(outputs.glob(f"*/{step}/executor_output.json"))]
    if silent or not isinstance(run_id, str):
        raise GraildientError(
            f"KFP's local runner says SUCCESS, but left nothing of: {', '.join(silent) or STEPS[-1]}",
            hint=_see_log(config.root),
        )
    return run_id


def _step_error(path: Path, error: RuntimeError, storage: Storage) -> GraildientError:
    """The error that the failing step wrote, as the class that it was."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        plain = re.sub(r"\x1b\[[0-9;]*m", "", " ".join(str(error).split()))
        return GraildientError(f"a step ended without a word: {plain}", hint=_see_log(storage))
    body = told["error"]
    kind = {kind.code: kind for kind in _kinds(GraildientError)}.get(body["code"], GraildientError)
    details = [Detail(**detail) for detail in body["details"]]
    return kind(
        f"step {told['step']}: {body['error']}", hint=body.get("hint") or _see_log(storage), details=details
    )


def _kinds(kind: type[GraildientError]) -> Iterator[type[GraildientError]]:
    if kind.__module__ == errors.__name__:
        yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


def _see_log(storage: Storage) -> str:
    return f"the whole log: {storage.url(FAILED)}/pipeline.log"


def _keep(folder: Path, storage: Storage, target: str) -> None:
    """What the runner left, below the root, in place of what an earlier run left there."""
    for name in KEPT:
        storage.remove(f"{target}/{name}")
    kept = folder / "kept"
    for path in sorted(p for p in kept.rglob("*") if p.is_file()):
        # KFP names a folder after the moment of the run; ours holds one run.
        parts = [p for p in path.relative_to(kept).parts if not re.fullmatch(r"graildient-[0-9-]+", p)]
        storage.write_bytes("/".join([target, *parts]), path.read_bytes())


class _Both(io.TextIOBase):
    """Writes to a log and to the terminal."""

    def __init__(self, *targets: TextIO) -> None:
        self._targets = targets

    def write(self, text: str) -> int:
        for target in self._targets:
            target.write(text)
        return len(text)

    def flush(self) -> None:
        for target in self._targets:
            target.flush()


@contextmanager
def _environment(folder: Path, report: Reporter) -> Iterator[None]:
    """What the steps inherit: where errors and progress go, and a temporary folder that is removed."""
    for name in ("tmp", "kept"):
        (folder / name).mkdir()
    added = {ERROR_FILE: str(folder / "error.json"), "TMPDIR": str(folder / "tmp")}
    events = folder / "progress.jsonl"
    follow = progress.ENV not in os.environ  # else the steps write there, and whoever set it reads it
    if follow:
        added[PROGRESS_FILE] = str(events)
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        if follow:
            with _following(events, report):
                yield
        else:
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _following(path: Path, report: Reporter) -> Iterator[None]:
    """Hand on what the steps report, as it comes."""
    ended = threading.Event()

    def follow() -> None:
        read = 0
        while True:
            last = ended.is_set()
            if path.exists():
                with open(path, "rb") as source:
                    source.seek(read)
                    chunk = source.read()
                whole = chunk[: chunk.rfind(b"\n") + 1]
                read += len(whole)
                for line in whole.splitlines():
                    event = json.loads(line)
                    report(event["stage"], done=event["done"], total=event["total"], note=event["note"])
            if last:
                return
            ended.wait(0.2)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _ending_children() -> Iterator[None]:
    """SIGTERM goes to the running step too; KFP's runner would wait for it to end by itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _frame: FrameType | None) -> None:
        import psutil

        for child in psutil.Process().children(recursive=True):
            child.terminate()
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
