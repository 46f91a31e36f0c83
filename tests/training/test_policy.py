from __future__ import annotations

from pathlib import Path

import pytest

from graildient.errors import InvalidSettings
from training.policy import FOLDER, Policy, load_policy


def test_the_default_names_every_limit_and_says_what_it_means() -> None:
    lines = (FOLDER / "default.yaml").read_text().splitlines()
    for name in Policy.model_fields:
        line = next(line for line in lines if line.startswith(f"{name}: "))
        assert "#" in line, f"{name} without a meaning"


def test_a_file_changes_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("gain_min: 0.01\n")
    assert load_policy(str(path)) == load_policy().model_copy(update={"gain_min": 0.01})
    path.write_text("# nothing\n")
    assert load_policy(str(path)) == load_policy()


@pytest.mark.parametrize(
    ("text", "field", "reason"),
    [
        ("gain_minimum: 0.01", "gain_minimum", "is no limit of a policy"),
        ("coverage_slack: 2", "coverage_slack", "less than or equal to 1"),
        ("gain_min: .nan", "gain_min", "finite"),
        ("slice_rows: many", "slice_rows", "valid integer"),
    ],
)
def test_an_unsound_policy_is_refused_by_name(tmp_path: Path, text: str, field: str, reason: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InvalidSettings) as caught:
        load_policy(str(path))
    assert caught.value.details[0].field == field
    assert reason in caught.value.details[0].reason


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "\x00"])
def test_what_is_no_policy_at_all(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yml"
    path.write_text(text)
    with pytest.raises(InvalidSettings, match="policy"):
        load_policy(str(path))


@pytest.mark.parametrize("name", ["nowhere", "nowhere.yaml", "../policies/default", ""])
def test_no_such_policy(name: str) -> None:
    with pytest.raises(InvalidSettings, match="there is no policy") as caught:
        load_policy(name)
    assert "default" in caught.value.hint
