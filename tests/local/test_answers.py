"""What the command line shows of figures and prices."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from graildient.errors import NotEnoughData, StorageError
from graildient.local.answers import report_of, run_of, show_price, show_slices
from graildient.pricing.registry import Registry
from graildient.storage import Storage

VERSION = "20210228-0123456789"


def part(by: str, value: str, *, judged: bool = True, n: int = 12_345) -> dict[str, Any]:
    return {
        "by": by, "value": value, "judged": judged, "n": n,
        "rmsle": 0.512345, "wape": 1.37, "bias": -1.1, "coverage_80": 1.0, "intervals": {"rmsle": [0.5, 0.6]},
    }  # fmt: skip


def shown(show: Any, *content: Any) -> str:
    out = io.StringIO()
    show(*content, Console(file=out, width=80, force_terminal=False))
    return out.getvalue()


def test_slices_fit_into_80_characters() -> None:
    slices = [
        part("designer", "in 200 rows and more"),
        part("designer", "new designer"),
        part("condition", "gently_used", judged=False),
    ]
    text = shown(show_slices, {"slices": slices})
    assert "…" not in text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "gently used" in text
    lines = [line.strip() for line in text.splitlines()]
    assert lines.index("designer") < lines.index("condition"), "each dimension is named once"
    assert "0.512  0.500-0.600  137.0%  -110.0%  100.0%" in text


def test_no_slices_are_told() -> None:
    with pytest.raises(NotEnoughData, match=VERSION) as caught:
        shown(show_slices, {"model_version": VERSION})
    assert "evaluate FILE --slices" in caught.value.hint


def test_the_report_of_a_version_is_found_through_its_verdict(
    storage: Storage, make_artifact: Callable[..., Path]
) -> None:
    Registry(storage).register(make_artifact(VERSION))
    with pytest.raises(StorageError, match="no report of"):
        report_of(storage, VERSION)
    Registry(storage).note(VERSION, "gate", {"run_id": "20210228-abc"})
    assert run_of(storage, VERSION) is None, "its run is gone"
    storage.write_bytes("runs/20210228-abc/evaluation.json", json.dumps({}).encode())
    assert run_of(storage, VERSION) == "runs/20210228-abc"
    with pytest.raises(StorageError, match="no report of"):
        report_of(storage, VERSION)
    storage.write_bytes("runs/20210228-abc/report.html", b"<html>")
    assert report_of(storage, VERSION) == storage.url("runs/20210228-abc/report.html")


def test_a_price_with_its_reasons_in_words() -> None:
    answer = {
        "price": 151.0, "low": 90.0, "high": 260.0, "model_version": VERSION, "as_of": "2021-02-28",
        "warnings": [], "base_price": 73.4,
        "reasons": [
            {"field": "designers", "value": "Rick [Owens]", "effect_usd": 84.0},
            {"field": "category", "value": "outerwear.light_jackets", "effect_usd": -6.4},
        ],
    }  # fmt: skip
    text = shown(show_price, {"title": "Jacket"}, answer)
    assert "  Rick [Owens]: +$84 over a typical light jacket\n" in text
    assert "  Light Jackets: −$6.40 against a typical listing\n" in text
    assert "a typical listing: $73.40" in text
