from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from price_cases import NO_MARKET, make_market, make_sales

from graildient.errors import ArtifactCorrupted, ModelError
from graildient.listing import Listing
from graildient.pricing import artifact
from graildient.pricing.features import FEATURES
from graildient.pricing.model import LEVELS, Calibration, PriceModel
from graildient.pricing.text import FIELDS

NEWER = make_sales(150, seed=9, first_id=50_000)
MARKET = make_market(NEWER, seed=9)


def reseal(folder: Path, **changed: object) -> None:
    """Seal again, as whoever broke the file before sealing would have."""
    old = artifact.read_manifest(folder).model_dump(exclude={"files", "content_sha256", "version", "format"})
    (folder / artifact.MANIFEST).unlink()
    artifact.seal(folder, **old | changed)


@pytest.fixture
def own(model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the artifact that a test may break."""
    return Path(shutil.copytree(model_folder, tmp_path / "own"))


def test_it_learned_the_price_process(model: PriceModel) -> None:
    sold = np.log1p([x.sold_price for x in NEWER])
    off = np.log1p(model.predict(NEWER, MARKET).price) - sold
    assert np.sqrt((off**2).mean()) < 0.6 * sold.std()


def test_ranges_hold_their_price(model: PriceModel) -> None:
    strange = [Listing(title="x"), Listing(title="🔥" * 300, designers=("日本",), size="zz"), *NEWER]
    prices = model.predict(strange, [NO_MARKET, {}, *MARKET])
    assert (prices.low <= prices.price).all()
    assert (prices.price <= prices.high).all()
    assert (prices.low >= 1).all()
    assert tuple(prices.quantiles) == LEVELS
    assert (prices.quantiles[0.1] <= prices.quantiles[0.5]).all()
    assert (prices.quantiles[0.5] <= prices.quantiles[0.9]).all()
    assert prices.price.dtype == np.float64


def test_offsets_widen_the_range(model: PriceModel) -> None:
    wide = PriceModel(
        model._linear, model._price, model._spread, Calibration(0.5, 1.0, 1.0), model.seen, model.trained_ids
    )
    a, b = model.predict(NEWER, MARKET), wide.predict(NEWER, MARKET)
    np.testing.assert_array_equal(a.price, b.price)
    assert (b.low < a.low).all()
    assert (b.high > a.high).all()


def test_crossed_offsets_still_hold_the_price(model: PriceModel) -> None:
    narrow = PriceModel(
        model._linear,
        model._price,
        model._spread,
        Calibration(0.5, -9.0, -9.0),
        model.seen,
        model.trained_ids,
    )
    prices = narrow.predict(NEWER, MARKET)
    assert (prices.low <= prices.price).all()
    assert (prices.price <= prices.high).all()


def test_a_listing_has_one_price_whatever_its_batch(model: PriceModel) -> None:
    """Small batches go to CatBoost as lists, big ones as a data frame."""
    whole = model.predict(NEWER, MARKET)
    for i in (0, 1, 77, 149):
        alone = model.predict(NEWER[i : i + 1], MARKET[i : i + 1])
        assert (alone.price[0], alone.low[0], alone.high[0]) == (whole.price[i], whole.low[i], whole.high[i])


def test_an_empty_batch_has_no_prices(model: PriceModel) -> None:
    prices = model.predict([], [])
    assert prices.price.size == prices.low.size == prices.high.size == 0
    assert prices.warnings == []
    assert prices.quantiles.keys() == set(LEVELS)
    assert model.explain([], []) == []


def test_arguments_of_different_lengths_are_refused(model: PriceModel) -> None:
    with pytest.raises(ValueError, match="2 listings and 1 market rows"):
        model.predict(NEWER[:2], MARKET[:1])


def test_reasons_add_up_to_the_price(model: PriceModel) -> None:
    strange = [*NEWER[:40], Listing(title="x"), Listing(title="日本 🔥", designers=("A", "B"))]
    market = [*MARKET[:40], NO_MARKET, NO_MARKET]
    prices = model.predict(strange, market).price
    for price, reasons in zip(prices, model.explain(strange, market), strict=True):
        assert {r.field for r in reasons} == set(FIELDS)
        assert sum(r.effect_usd for r in reasons) == pytest.approx(price - model.base_price, abs=1e-6)
        effects = [abs(r.effect_usd) for r in reasons]
        assert effects == sorted(effects, reverse=True)


def test_reasons_name_what_matters(model: PriceModel) -> None:
    sale = next(x for x in NEWER if x.designers == ("Rick Owens",) and "archive" in x.title)
    reasons = {r.field: r for r in model.explain([sale], [MARKET[NEWER.index(sale)]])[0]}
    assert reasons["designers"].effect_usd > 10
    assert reasons["designers"].value == "Rick Owens"
    assert reasons["category"].value == sale.category_path
    json.dumps([vars(r) for r in reasons.values()])


def test_what_is_unknown_is_told(model: PriceModel) -> None:
    known = next(i for i, row in enumerate(MARKET) if row["category_mean_log_price"] is not None)
    assert model.predict([NEWER[known]], [MARKET[known]]).warnings == [()]
    stranger = Listing(
        title="coat", designers=("Nike", "Nobody"), category="accessories", subcategory="hats", size="99"
    )
    (said,) = model.predict([stranger], [NO_MARKET]).warnings
    assert [word in " ".join(said) for word in ("'Nobody'", "'accessories.hats'", "'99'", "market")] == [
        True
    ] * 4
    assert "Nike" not in " ".join(said)
    without_designer = {k: None if k.startswith("designer") else v for k, v in MARKET[known].items()}
    (said,) = model.predict([NEWER[known]], [without_designer]).warnings
    assert said == ("no recent sales are known of this designer",)


def test_a_text_of_100_kb_has_a_price_in_time(model: PriceModel) -> None:
    listing = Listing.model_construct(
        title="price 1, " * 12_000, description="é1," * 33_000, designers=(), hashtags=()
    )
    begun = time.process_time()
    prices = model.predict([listing], [NO_MARKET])
    assert time.process_time() - begun < 2
    assert np.isfinite(prices.price).all()


def test_its_copy_says_the_same(model: PriceModel, tmp_path: Path) -> None:
    model.save(tmp_path / "copy")
    manifest = model.manifest.model_dump(exclude={"files", "content_sha256", "version", "format"})
    artifact.seal(tmp_path / "copy", **manifest)
    copy = PriceModel.load(tmp_path / "copy")
    np.testing.assert_array_equal(copy.predict(NEWER, MARKET).price, model.predict(NEWER, MARKET).price)


def test_it_holds_what_it_was_trained_on(model: PriceModel) -> None:
    assert model.trained_ids.dtype == np.int64
    assert model.trained_ids.tolist() == list(range(1000, 1500))
    assert model.seen.values["size"] == {"s", "m", "32"}


@pytest.mark.parametrize(
    "file",
    ["price.cbm", "range.cbm", "text/terms.json", "text/weights.npz", "calibration.json", "seen.json",
     "trained_ids.npz"],
)  # fmt: skip
def test_a_changed_file_is_refused_by_name(own: Path, file: str) -> None:
    data = bytearray((own / file).read_bytes())
    data[len(data) // 2] ^= 1
    (own / file).write_bytes(bytes(data))
    with pytest.raises(ArtifactCorrupted, match=file):
        PriceModel.load(own)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("price.cbm", b"trees"),
        ("range.cbm", b""),
        ("calibration.json", b'{"share": 2, "low": 0, "high": 0, "rows": 1}'),
        ("calibration.json", b'{"share": 0.5, "low": 0}'),
        ("calibration.json", b"[]"),
        ("seen.json", b"{}"),
        ("trained_ids.npz", b""),
        ("trained_ids.npz", b"PK\x03\x04"),
    ],
)
def test_a_file_sealed_broken_is_refused_by_name(own: Path, file: str, content: bytes) -> None:
    (own / file).write_bytes(content)
    reseal(own)
    with pytest.raises(ArtifactCorrupted, match=file):
        PriceModel.load(own)


def test_a_model_of_other_features_is_refused(own: Path) -> None:
    fewer = [f.to_json() for f in FEATURES if f.name != "size_number"]
    reseal(own, features=fewer)
    with pytest.raises(ModelError, match="size_number"):
        PriceModel.load(own)


def test_a_model_that_is_not_sealed_has_no_manifest(model: PriceModel) -> None:
    bare = PriceModel(
        model._linear, model._price, model._spread, model.calibration, model.seen, model.trained_ids
    )
    with pytest.raises(ModelError, match="not sealed"):
        _ = bare.manifest
