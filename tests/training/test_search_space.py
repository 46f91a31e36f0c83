"""Search spaces: what a YAML file may say, and how it is told what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from graildient.errors import InvalidSettings
from training.search_space import FOLDER, defaults, load_space


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", sorted(p.stem for p in FOLDER.glob("*.yaml")))
def test_the_spaces_that_come_along_are_sound(name: str) -> None:
    space = load_space(name)
    assert {"learning_rate", "depth"} <= set(space)
    for key, value in defaults(space).items():
        assert space[key].distribution()._contains(space[key].distribution().to_internal_repr(value))


def test_each_type_becomes_what_optuna_draws_from(tmp_path: Path) -> None:
    space = load_space(
        write(
            tmp_path,
            "learning_rate: {type: loguniform, low: 0.01, high: 1, default: 0.1}\n"
            "rsm: {type: uniform, low: 0.5, high: 1, default: 1}\n"
            "depth: {type: int, low: 2, high: 9, default: 6}\n"
            "grow_policy: {type: choice, choices: [SymmetricTree, Lossguide], default: Lossguide}\n",
        )
    )
    made = {name: parameter.distribution() for name, parameter in space.items()}
    assert made["learning_rate"].log
    assert not made["rsm"].log
    assert (made["depth"].low, made["depth"].high) == (2, 9)
    assert made["grow_policy"].choices == ("SymmetricTree", "Lossguide")
    assert defaults(space) == {"learning_rate": 0.1, "rsm": 1.0, "depth": 6, "grow_policy": "Lossguide"}


@pytest.mark.parametrize(
    ("line", "field", "reason"),
    [
        ("depth: {type: int, low: 9, high: 2, default: 3}", "depth", "low 9 is above high 2"),
        ("depth: {type: int, low: 2, high: 9, default: 12}", "depth", "default 12 is outside"),
        ("depth: {type: int, low: 2.5, high: 9, default: 3}", "depth.low", "integer"),
        ("depth: {type: integer, low: 2, high: 9, default: 3}", "depth", "int"),
        ("depth: {low: 2, high: 9, default: 3}", "depth", "discriminator"),
        ("depth: {type: int, low: 2, high: 9}", "depth.default", "required"),
        ("depth: {type: int, low: 2, high: 9, default: 3, step: 2}", "depth.step", "Extra"),
        ("rsm: {type: loguniform, low: 0, high: 1, default: 1}", "rsm", "above 0"),
        ("rsm: {type: uniform, low: .nan, high: 1, default: 1}", "rsm.low", "finite"),
        ("grow_policy: {type: choice, choices: [a], default: b}", "grow_policy", "'b' is not among"),
        ("grow_policy: {type: choice, choices: [], default: b}", "grow_policy.choices", "at least 1"),
        ("depht: {type: int, low: 2, high: 9, default: 3}", "depht", "no parameter of CatBoost"),
        ("iterations: {type: int, low: 2, high: 9, default: 3}", "iterations", "no parameter"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, line: str, field: str, reason: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        load_space(write(tmp_path, line))
    assert caught.value.details[0].field == field
    assert reason.lower() in caught.value.details[0].reason.lower()
    assert field in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "depth", "depth: [1", "\x00"])
def test_what_is_no_space_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidSettings, match=r"space\.yaml"):
        load_space(write(tmp_path, text))


@pytest.mark.parametrize("name", ["nowhere", "../spaces/default", "nowhere.yaml"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(InvalidSettings, match=name) as caught:
        load_space(name)
    assert "default, quick" in caught.value.hint
