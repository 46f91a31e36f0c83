from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import get_args

import pytest

from graildient import taxonomy
from graildient.listing import Condition, Department
from graildient.normalise import size

PATHS = [(category, below) for category, known in taxonomy.CATEGORIES.items() for below in known]


def test_contract_and_taxonomy_agree() -> None:
    assert get_args(Department) == taxonomy.DEPARTMENTS
    assert get_args(Condition) == taxonomy.CONDITIONS


@pytest.mark.parametrize(("category", "below"), PATHS)
def test_each_slug_and_each_label_lead_back(category: str, below: str) -> None:
    label = taxonomy.LABELS[f"{category}.{below}"]
    assert taxonomy.resolve_subcategory(below, category) == (category, below)
    assert taxonomy.resolve_subcategory(label, category) == (category, below)
    assert taxonomy.resolve_subcategory(label.upper(), category) == (category, below)


def test_every_category_has_sizes_and_a_label() -> None:
    assert set(taxonomy.SIZES) == set(taxonomy.CATEGORIES)
    for category, sizes in taxonomy.SIZES.items():
        assert len(sizes) == len(set(sizes)), category
        assert taxonomy.LABELS[category]


@pytest.mark.parametrize("category", taxonomy.CATEGORIES)
def test_sizes_are_in_the_contracts_spelling(category: str) -> None:
    assert [size(s) for s in taxonomy.SIZES[category]] == list(taxonomy.SIZES[category])


@pytest.mark.parametrize(
    ("label", "path"),
    [
        ("Shirts (Button Ups)", ("tops", "button_ups")),
        ("Ties & Pocketsquares", ("accessories", "ties_pocketsquares")),
        ("ties and pocketsquares", ("accessories", "ties_pocketsquares")),
        ("Casual Leather Shoes", ("footwear", "leather")),
        ("Overalls & Jumpsuits", ("bottoms", "jumpsuits")),
        ("Vests", ("outerwear", "vests")),
        ("Gadgets", None),
        ("", None),
    ],
)
def test_labels_without_a_category(label: str, path: tuple[str, str] | None) -> None:
    assert taxonomy.resolve_subcategory(label) == path


def test_a_shared_label_is_told_apart_by_category_or_department() -> None:
    assert taxonomy.resolve_subcategory("Vests", "tailoring") == ("tailoring", "vests")
    assert taxonomy.resolve_subcategory("Boots", None, "womenswear") == ("womens_footwear", "boots")
    assert taxonomy.resolve_subcategory("Boots", "tops") is None
    assert taxonomy.resolve_subcategory("Boots", "hats") is None


def test_categories_by_label_and_department() -> None:
    assert taxonomy.resolve_category("Tops") == "tops"
    assert taxonomy.resolve_category("Tops", "womenswear") == "womens_tops"
    assert taxonomy.resolve_category("Women's Bags & Luggage") == "womens_bags_luggage"
    assert taxonomy.resolve_category("tailoring", "womenswear") == "tailoring"
    assert taxonomy.resolve_category("trousers") is None
    assert {taxonomy.department_of(c) for c in taxonomy.CATEGORIES} == set(taxonomy.DEPARTMENTS)


@pytest.mark.real
def test_every_path_and_size_of_the_search_facets_of_2020_is_known(shared_data: Path) -> None:
    results = json.loads((shared_data / "payload_search_response_2020.json").read_bytes())["results"]
    paths = {path for r in results for path in r.get("facets", {}).get("category_path", ())}
    sizes = {path for r in results for path in r.get("facets", {}).get("category_size", ())}
    assert len(paths) > 40
    for path in paths:
        category, _, below = path.partition(".")
        assert below in taxonomy.CATEGORIES[category], path
    for path in sizes:
        category, _, text = path.partition(".")
        assert size(text) in taxonomy.SIZES[category], path


@pytest.mark.real
def test_every_path_of_the_sales_of_2026_is_known(shared_data: Path) -> None:
    with open(shared_data / "grailed_sold_2026_sample.jsonl", encoding="utf-8") as lines:
        paths = {json.loads(line)["category_path"] for line in lines}
    assert len(paths) > 30
    for path in paths:
        category, _, below = path.partition(".")
        assert below in taxonomy.CATEGORIES[category], path


@pytest.mark.real
def test_every_label_of_the_pages_of_2021_is_known(shared_data: Path) -> None:
    from graildient.page_strings import listing_fields

    with gzip.open(shared_data / "grailed_sold_2021.csv.gz", "rt", encoding="utf-8", newline="") as text:
        rows = [row for row in csv.DictReader(text) if row["category"]]
    assert len(rows) > 11_000
    unknown = {row["category"] for row in rows if listing_fields(row)["subcategory"] is None}
    assert unknown == set()
