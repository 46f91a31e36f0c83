"""What the Kubeflow UI shows of a step: the search as Markdown, training and release as one HTML page each.

Made from the files of the run alone, so that the same run gives the same page. The page of the release
is the report of the run; it is kept as `report.html`.
"""

from __future__ import annotations

import html
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from graildient.storage import Storage

REPORT = "report.html"


def search_page(storage: Storage, run_id: str) -> str:
    """The trials of a search as a Markdown table, best first."""
    result = _json(storage, f"runs/{run_id}/search/result.json")
    trials = _trials(storage, run_id)
    ranked = sorted(trials, key=lambda t: (t["score"] is None, t["score"], t["number"]))
    rows = [
        f"| {t['number']} | {t['state']} | {_number(t['score'])} | {t['iterations'] or ''} | "
        f"{', '.join(f'{k} {_number(v)}' for k, v in sorted(t['params'].items()))} |"
        for t in ranked
    ]
    return "\n".join(
        [
            f"# Search of run {run_id}",
            "",
            f"Best validation RMSLE **{result['score']:.4f}** of {len(trials)} trials; "
            f"the model gets {result['iterations']} iterations.",
            "",
            "| trial | state | RMSLE | iterations | parameters |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def train_page(storage: Storage, run_id: str) -> str:
    """The report as far as it is known before the gate."""
    return _render(storage, run_id, {})


def make_report(storage: Storage, run_id: str) -> str:
    """The report of a released run, made anew."""
    return _render(storage, run_id, _json(storage, f"runs/{run_id}/release.json"))


def release_page(storage: Storage, run_id: str) -> str:
    """The report that the release step kept."""
    return storage.read_bytes(f"runs/{run_id}/{REPORT}").decode()


BY_NAME: dict[str, Callable[[Storage, str], str]] = {
    "search": search_page,
    "train": train_page,
    "release": release_page,
}


def _render(storage: Storage, run_id: str, release: dict[str, Any]) -> str:
    from training.evaluate import Scored
    from training.report import Content, render

    base = f"runs/{run_id}"
    with np.load(io.BytesIO(storage.read_bytes(f"{base}/holdout.npz")), allow_pickle=False) as arrays:
        scored = Scored(*(arrays[name] for name in ("ids", "sold", "price", "low", "high")))
    recipes = _json(storage, f"{base}/recipes.json") if storage.exists(f"{base}/recipes.json") else []
    return render(
        Content(
            run_id=run_id,
            evaluation=_json(storage, f"{base}/evaluation.json"),
            scored=scored,
            trials=_trials(storage, run_id),
            release=release,
            recipes=recipes,
        )
    )


def _trials(storage: Storage, run_id: str) -> list[dict[str, Any]]:
    lines = storage.read_bytes(f"runs/{run_id}/search/trials.jsonl").splitlines()
    return [json.loads(line) for line in lines]


def _json(storage: Storage, path: str) -> Any:
    return json.loads(storage.read_bytes(path))


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else html.escape(str(value))
