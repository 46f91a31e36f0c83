from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from price_cases import NO_MARKET, make_data, make_market, make_sales

from graildient.errors import ArtifactCorrupted
from graildient.listing import Listing
from graildient.pricing import text
from graildient.pricing.text import FIELDS, TextRidge, mask_money, words
from training.fit import log_prices
from training.text import Corpus

DATA = make_data(300)
NEWER = make_sales(60, seed=8, first_id=9000)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus(DATA.listings, DATA.market)


@pytest.fixture(scope="module")
def ridge(corpus: Corpus) -> TextRidge:
    return corpus.export(corpus.fit(log_prices(DATA.listings), 300), 300)


@pytest.mark.parametrize(
    "said",
    ["$250", "$ 1,250.00", "250 usd", "250 dollars", "asking 250", "Selling price: $400", "retail for 1200",
     "paid 90", "€99", "99€", "bin 120", "2.5k obo? paid 1.2k", "priced at 80", "$1.5k", "300US$"],
)  # fmt: skip
def test_amounts_of_money_are_masked(said: str) -> None:
    masked = mask_money(f"coat {said} end")
    assert not any(c.isdigit() for c in masked), masked
    assert "money" in masked
    assert masked.startswith("coat")
    assert masked.endswith("end")


@pytest.mark.parametrize(
    "said", ["size 10", "fw 2003", "pit to pit 22in", "10/10", "ss03", "air max 97", "size 34x32", "14k gold"]
)
def test_other_numbers_stay(said: str) -> None:
    assert mask_money(said) == said


@pytest.mark.parametrize(
    "bad",
    ["1," * 50_000, "price " * 17_000, "$" * 100_000, "a" * 100_000, "9" * 100_000, "price a b " * 10_000,
     "sell " + "a" * 99_000, "$1 " * 33_000, " " * 100_000, "🔥" * 100_000],
)  # fmt: skip
def test_long_texts_take_no_time(bad: str, ridge: TextRidge) -> None:
    listing = Listing.model_construct(title="coat", description=bad, designers=(), hashtags=())
    begun = time.process_time()
    found = ridge.predict([listing], [NO_MARKET])
    assert time.process_time() - begun < 1
    assert np.isfinite(found).all()


def test_words_of_any_script() -> None:
    assert words("Été 日本製 ÅNGSTRÖM 🔥🔥 don't") == ["été", "日本製", "ångström", "don", "t"]
    assert words(None) == words("") == words("🔥 !!") == []


def test_estimates_equal_those_of_scikit_learn(corpus: Corpus, ridge: TextRidge) -> None:
    """The whole linear part once more, in scikit-learn's own words."""
    import scipy.sparse as sp
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

    from training import text as fitting

    y = log_prices(DATA.listings)
    fit = corpus.fit(y, 300)

    def documents(listings: list[Listing], block: str) -> list[str]:
        whole = {"title": lambda x: x.title, "description": lambda x: x.description or ""}[block]
        return [mask_money(whole(listing)) for listing in listings]

    listings, newer = list(DATA.listings), list(NEWER)
    parts = []
    for block in ("title", "description"):
        vectorizer = TfidfVectorizer(
            ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=r"\w+", dtype=np.float64
        ).fit(documents(listings, block))
        parts.append(vectorizer.transform(documents(newer, block)))
    cross = TfidfVectorizer(analyzer=lambda x: text.tokens(x).cross, min_df=2, sublinear_tf=True).fit(
        listings
    )
    parts.append(cross.transform(newer))
    attributes = CountVectorizer(
        analyzer=lambda x: [t for _, t in text.tokens(x).attributes], binary=True
    ).fit(listings)
    parts.append(attributes.transform(newer) * fitting.ATTRIBUTE_WEIGHT)
    market = make_market(newer)
    numbers = np.array([text.numbers(x, row) for x, row in zip(newer, market, strict=True)])
    parts.append(sp.csr_matrix(np.nan_to_num((numbers - fit.center) / fit.scale) * fitting.NUMBER_WEIGHT))
    expected = sp.hstack(parts) @ fit.weights + fit.intercept
    np.testing.assert_allclose(ridge.predict(newer, market), expected, rtol=0, atol=1e-9)


def test_the_vocabulary_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from training import text as fitting

    assert sum(fitting.MAX_TERMS.values()) <= 60_000
    monkeypatch.setattr(fitting, "MAX_TERMS", dict.fromkeys(fitting.MAX_TERMS, 5))
    corpus = Corpus(DATA.listings, DATA.market)
    made = corpus.export(corpus.fit(log_prices(DATA.listings), 300), 300)
    assert all(len(terms) <= 5 for terms in made.terms.values())


def test_contributions_add_up_and_their_means_are_kept(ridge: TextRidge) -> None:
    contributions = ridge.contributions(DATA.listings, DATA.market)
    assert contributions.shape == (300, len(FIELDS))
    np.testing.assert_allclose(contributions.mean(axis=0), ridge.means, atol=1e-9)
    total = ridge.intercept + contributions.sum(axis=1)
    np.testing.assert_array_equal(ridge.predict(DATA.listings, DATA.market), total)


def test_a_word_is_worth_what_it_was_worth(ridge: TextRidge) -> None:
    plain, archive = (
        Listing(title=f"Nike {word} boots", designers=("Nike",)) for word in ("classic", "archive")
    )
    low, high = ridge.predict([plain, archive], [NO_MARKET] * 2)
    assert high - low > 0.2


def test_an_unknown_market_moves_nothing(ridge: TextRidge) -> None:
    middle = dict(zip(NO_MARKET, ridge.center[3:].tolist(), strict=True))
    counts = {name: float(np.expm1(value)) for name, value in middle.items() if "_count" in name}
    listing = Listing(title="coat")
    known, unknown = ridge.predict([listing] * 2, [middle | counts, NO_MARKET])
    assert known == pytest.approx(unknown, abs=1e-9)


def test_a_copy_from_its_files_is_the_same(ridge: TextRidge, tmp_path: Path) -> None:
    for name in ("a", "b"):
        ridge.save(tmp_path / name)
    for file in ("terms.json", "weights.npz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    copy = TextRidge.load(tmp_path / "a")
    market = make_market(NEWER)
    np.testing.assert_array_equal(copy.predict(NEWER, market), ridge.predict(NEWER, market))


@pytest.mark.parametrize("file", ["terms.json", "weights.npz"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"title": 1}'])
def test_a_broken_file_is_named(ridge: TextRidge, tmp_path: Path, file: str, content: bytes | None) -> None:
    ridge.save(tmp_path / "text")
    broken = tmp_path / "text" / file
    broken.unlink()
    if content is not None:
        broken.write_bytes(content)
    with pytest.raises(ArtifactCorrupted, match=f"text/{file}"):
        TextRidge.load(tmp_path / "text")


def test_a_pickle_is_not_loaded(ridge: TextRidge, tmp_path: Path) -> None:
    ridge.save(tmp_path / "text")
    with np.load(tmp_path / "text" / "weights.npz") as arrays:
        content = dict(arrays)
    np.savez(tmp_path / "text" / "weights.npz", **content | {"center": np.array([print], dtype=object)})
    with pytest.raises(ArtifactCorrupted, match=r"weights\.npz"):
        TextRidge.load(tmp_path / "text")


def test_serving_needs_neither_scikit_learn_nor_training(model_folder: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from graildient.listing import Listing
from graildient.pricing.model import PriceModel
model = PriceModel.load(Path({str(model_folder)!r}))
model.predict([Listing(title="coat")], [{{}}])
model.explain([Listing(title="coat")], [{{}}])
print(sorted(m for m in sys.modules if m.split(".")[0] in ("sklearn", "training", "ray", "feast")))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
