"""What the Kubeflow UI shows of a step: the search as Markdown, training and release as one HTML page each.

Made from the files of the run alone, so that the same run gives the same page.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from graildient.storage import Storage

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:52rem;padding:0 1rem;color:#1a1a1a}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}
td,th{padding:.3rem .6rem;border-bottom:1px solid #ddd;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}.yes{color:#17653a}.no{color:#9a2b1c}
"""


def search_page(storage: Storage, run_id: str) -> str:
    """The trials of a search as a Markdown table, best first."""
    folder = f"runs/{run_id}/search"
    result = _json(storage, f"{folder}/result.json")
    trials = [json.loads(line) for line in storage.read_bytes(f"{folder}/trials.jsonl").splitlines()]
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
    """Figures of the model on the newest listings."""
    evaluation = _json(storage, f"runs/{run_id}/evaluation.json")
    return _page(f"Model of run {run_id}", _sections(evaluation))


def release_page(storage: Storage, run_id: str) -> str:
    """The gate's verdict with its reasons."""
    release = _json(storage, f"runs/{run_id}/release.json")
    word, style = ("promoted to champion", "yes") if release["promoted"] else ("not promoted", "no")
    reasons = "".join(f"<li>{html.escape(str(r))}</li>" for r in release["verdict"].get("reasons", ()))
    said = f'<b class="{style}">{word}</b>'
    head = f"<p>Model <b>{html.escape(release['version'])}</b>: {said}</p><ul>{reasons}</ul>"
    return _page(f"Release of run {run_id}", [head, *_sections(release["metrics"])])


BY_NAME: dict[str, Callable[[Storage, str], str]] = {
    "search": search_page,
    "train": train_page,
    "release": release_page,
}


def _json(storage: Storage, path: str) -> Any:
    return json.loads(storage.read_bytes(path))


def _sections(content: dict[str, Any]) -> list[str]:
    """Plain numbers as one table; mappings and lists of mappings as a table of their own."""
    plain = [(k, v) for k, v in content.items() if not isinstance(v, dict | list)]
    found = [_table(("figure", "value"), plain)] if plain else []
    for key, value in content.items():
        if isinstance(value, dict) and value:
            rows = [(k, v) for k, v in value.items() if not isinstance(v, dict | list)]
            if rows:
                found.append(f"<h2>{html.escape(key)}</h2>{_table(('figure', 'value'), rows)}")
        elif isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
            names = list(dict.fromkeys(name for v in value for name in v))
            table = _table(names, ([v.get(name) for name in names] for v in value))
            found.append(f"<h2>{html.escape(key)}</h2>{table}")
    return found


def _table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(_cell(v) for v in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: Any) -> str:
    style = ' class="n"' if isinstance(value, int | float) and not isinstance(value, bool) else ""
    return f"<td{style}>{html.escape(_number(value))}</td>"


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _page(title: str, sections: Iterable[str]) -> str:
    name = html.escape(title)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title><style>{STYLE}</style>'
        f"<h1>{name}</h1>{''.join(sections)}</html>\n"
    )
