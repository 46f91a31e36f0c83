"""The command line: its help, its clean errors, and what it does not import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from graildient.cli import app
from graildient.errors import InvalidSettings

HEAVY = {
    "feast",
    "kserve",
    "ray",
    "catboost",
    "kfp",
    "scrapy",
    "pandas",
    "pyarrow",
    "pydantic",
    "duckdb",
    "fsspec",
}


def commands() -> dict[str, typer.core.TyperCommand]:
    """Every command by its full name, groups entered."""
    root = typer.main.get_command(app)
    found = {}
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        if hasattr(command, "commands"):
            found |= {f"{name} {sub}": c for sub, c in command.commands.items()}
        else:
            found[name] = command
    return found


def run(*words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """The real program, in a folder of its own."""
    import os

    full = {k: v for k, v in os.environ.items() if not k.startswith(("GRAILDIENT_", "PROMETHEUS_"))} | env
    return subprocess.run(
        [sys.executable, "-m", "graildient", *words],
        cwd=cwd,
        env=full,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_commands_are_those_that_the_plan_names() -> None:
    assert set(commands()) == {
        "up", "scrape", "marketplace", "train", "serve", "predict", "score", "evaluate", "doctor",
        "features build", "features docs", "features materialize", "features refresh", "features status",
        "pipeline run", "pipeline compile", "pipeline submit", "pipeline schedule",
        "models list", "models show", "models promote", "models verify",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(commands()))
def test_each_help_shows_an_example_and_says_what_each_option_is_for(name: str) -> None:
    command = commands()[name]
    assert f"graildient {name}" in (command.epilog or "")
    assert command.help
    result = CliRunner().invoke(app, [*name.split(), "--help"])
    assert result.exit_code == 0


def test_help_imports_nothing_heavy() -> None:
    code = "import json, sys, graildient.cli; print(json.dumps(sorted(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not HEAVY & set(json.loads(loaded))


def test_version(tmp_path: Path) -> None:
    assert run("--version", cwd=tmp_path).stdout.startswith("graildient 0.")


def test_an_error_is_clean_and_names_the_cure(tmp_path: Path) -> None:
    result = run("up", "--listings", "absent.csv", "--demo", cwd=tmp_path)
    assert result.returncode == 1
    assert "no file at absent.csv" in result.stderr
    assert "→" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    result = run("features", "status", cwd=tmp_path, GRAILDIENT_FEATURES_TTL_DAYS="soon")
    assert result.returncode == 2
    assert "GRAILDIENT_FEATURES_TTL_DAYS" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("word", ["trials", "=3", ""])
def test_a_malformed_override_is_refused(tmp_path: Path, word: str) -> None:
    result = run("pipeline", "run", "--set", word, cwd=tmp_path)
    assert result.returncode == 2
    assert "KEY=VALUE" in result.stderr


def test_a_malformed_date_is_refused(tmp_path: Path) -> None:
    result = run("scrape", "--since", "yesterday", cwd=tmp_path)
    assert result.returncode == 2
    assert "--since" in result.stderr


def test_lengths_of_time() -> None:
    from graildient.cli.common import seconds

    assert [seconds(text, "--every") for text in ("90s", "30m", "6h", " 1 d ")] == [90, 1800, 21600, 86400]
    for text in ("", "6", "h", "0h", "-1h", "1.5h", "six hours"):
        with pytest.raises(InvalidSettings, match=r"--every: .* is no length of time"):
            seconds(text, "--every")


def test_predict_without_a_model_says_what_to_do(tmp_path: Path) -> None:
    result = run("predict", "--title", "Jacket", cwd=tmp_path)
    assert result.returncode == 1
    assert "champion" in result.stderr
    assert "Traceback" not in result.stderr


def test_predict_refuses_an_unknown_field_by_name(tmp_path: Path) -> None:
    (tmp_path / "listing.json").write_text(json.dumps({"title": "Jacket", "colour": "black"}))
    result = run("predict", "--json", "listing.json", cwd=tmp_path)
    assert result.returncode == 2
    assert "colour" in result.stderr


def test_doctor_names_every_part_and_passes_here(tmp_path: Path) -> None:
    result = run("doctor", cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    for part in ("feast", "kserve", "ray", "redis-server", "helm"):
        assert part in result.stdout
