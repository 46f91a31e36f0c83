from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graildient.errors import InvalidSettings
from graildient.pricing import features
from training.dataset import Dataset
from training.fit import Material
from training.recipe import COLUMNS, Recipe, fit_recipe, load_recipe, names

CUT, END = 900, 1200


@pytest.fixture(scope="module")
def material(price_data: Dataset) -> Material:
    return Material.of(price_data.listings, price_data.market)


def test_every_recipe_of_the_project_loads_the_simplest_first() -> None:
    found = names()
    assert found[0] == "median"
    assert found[-1] == "blend"
    assert len(found) >= 7
    assert all(load_recipe(name).about for name in found)


def test_together_the_inputs_are_every_feature() -> None:
    assert [name for group in COLUMNS.values() for name in group] == list(features.NAMES)


@pytest.mark.parametrize("name", names())
def test_a_recipe_knows_nothing_of_the_rows_that_it_is_judged_on(
    name: str, material: Material, price_data: Dataset
) -> None:
    recipe = load_recipe(name).model_copy(update={"iterations": 20})
    said = fit_recipe(recipe, material, CUT, 7, 2).predict(CUT, END)
    assert said.shape == (END - CUT,)
    assert np.isfinite(said).all()
    dear = [one.model_copy(update={"sold_price": one.sold_price * 9}) for one in price_data.listings[CUT:]]
    other = Material.of([*price_data.listings[:CUT], *dear], price_data.market)
    np.testing.assert_array_equal(fit_recipe(recipe, other, CUT, 7, 2).predict(CUT, END), said)


def test_more_to_go_by_gives_better_prices(material: Material) -> None:
    def rmse(name: str) -> float:
        said = fit_recipe(load_recipe(name), material, CUT, 7, 2).predict(CUT, END)
        return float(np.sqrt(((said - material.y[CUT:END]) ** 2).mean()))

    median, means, blend = rmse("median"), rmse("designer_category"), rmse("blend")
    assert blend < means < median


def test_a_blend_lies_between_its_parts(material: Material) -> None:
    blend = load_recipe("blend").model_copy(update={"iterations": 20})
    boosted = Recipe(about="its booster", kind="booster", inputs=blend.inputs, iterations=20)
    parts = [fit_recipe(r, material, CUT, 7, 2).predict(CUT, END) for r in (boosted, load_recipe("ridge"))]
    said = fit_recipe(blend, material, CUT, 7, 2).predict(CUT, END)
    np.testing.assert_allclose(said, (parts[0] + parts[1]) / 2, atol=1e-12)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("about: x\nkind: oracle\n", "kind"),
        ("about: x\nkind: booster\n", "a booster needs inputs"),
        ("about: x\nkind: median\ninputs: [request]\n", "a median has no inputs"),
        ("about: x\nkind: blend\ninputs: [request]\n", "a blend needs a share"),
        ("about: x\nkind: booster\ninputs: [likes]\n", "inputs.0"),
        ("about: x\nkind: median\nprice: 5\n", "price"),
        ("kind: median\n", "about"),
        ("a: [b", "no YAML"),
        ("- 1\n", "not sound"),
    ],
)
def test_a_recipe_that_is_not_sound_is_refused_by_its_key(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InvalidSettings, match=told) as caught:
        load_recipe(str(path))
    assert "mine.yaml" in str(caught.value)


def test_one_that_is_not_there() -> None:
    with pytest.raises(InvalidSettings, match="there is no recipe 'soup'") as caught:
        load_recipe("soup")
    assert "blend" in str(caught.value.hint)
