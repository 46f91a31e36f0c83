"""Where a component enters: run its step, write its artifacts, and fail with a sentence, not a trace."""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from graildient import progress
from graildient.errors import GraildientError

ERROR_FILE = "GRAILDIENT_PIPELINE_ERROR"
"""Variable that names a file for the error of a failing step; the local runner's caller reads it."""
PROGRESS_FILE = "GRAILDIENT_PIPELINE_PROGRESS"
"""Variable that names the progress file of the steps alone. (Their caller has, or has not, its own.)"""


def enter(name: str, settings: str, root: str, run_id: str = "", cache: bool = True, **artifacts: Any) -> str:
    """Run the step `name`; returns the id of the run.

    Args:
        cache: whether what was done before on the same inputs is left out.
        artifacts: of KFP: `metrics` gets the step's numbers, `summary` and `report` its pages.

    Raises:
        SystemExit: the step failed; its error is on stderr, and in the file that `ERROR_FILE` names.
    """
    if PROGRESS_FILE in os.environ:
        os.environ.setdefault(progress.ENV, os.environ[PROGRESS_FILE])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pipelines import pages, steps, validate
            from pipelines.config import RunConfig

            config = RunConfig.from_json(settings, root=root, cache=cache)
            run_id, numbers = steps.BY_NAME[name](config, run_id)
            for key, value in numbers.items():
                artifacts["metrics"].log_metric(key, value)
            for kind in ("summary", "report"):
                if kind in artifacts:
                    made = {"training_set": validate.validation_page} | pages.BY_NAME
                    page = made[name](config.root, run_id)
                    Path(artifacts[kind].path).write_text(page, encoding="utf-8")
    except GraildientError as error:
        _tell(name, error.to_json())
    except MemoryError:
        _tell(name, GraildientError("out of memory", hint="set a smaller search: --set batch=1").to_json())
    except Exception as error:
        import traceback

        traceback.print_exc()  # for the log of the step; its reader gets one line
        _tell(name, GraildientError(f"{type(error).__name__}: {' '.join(str(error).split())}").to_json())
    else:
        return run_id
    raise SystemExit(1)


def _tell(name: str, error: dict[str, Any]) -> None:
    print(f"step {name} failed: {error['error']}", file=sys.stderr, flush=True)
    if path := os.environ.get(ERROR_FILE):
        Path(path).write_text(json.dumps({"step": name, "error": error}), encoding="utf-8")
