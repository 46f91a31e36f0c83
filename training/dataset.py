"""A training set in memory, checked once and sorted by the time of its listings' creation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from feature_repo.training_set import TrainingSet, load_training_set
from graildient.errors import Detail, NotEnoughData
from graildient.listing import SoldListing
from graildient.pricing.market import Values
from graildient.storage import Storage


@dataclass(frozen=True)
class Dataset:
    """Listings and the market row of each, sorted by `created_at` and `id`, each id once.

    `sha256`: of the training set's content. `as_of`: up to when the market was known.
    """

    listings: Sequence[SoldListing]
    market: Sequence[Values]
    sha256: str
    as_of: datetime

    def __len__(self) -> int:
        return len(self.listings)

    def part(self, start: int, end: int) -> Dataset:
        """Rows `start` to `end`; `sha256` and `as_of` stay those of the whole."""
        return Dataset(self.listings[start:end], self.market[start:end], self.sha256, self.as_of)


def make_dataset(
    listings: Sequence[SoldListing], market: Sequence[Values], sha256: str, as_of: datetime
) -> Dataset:
    """Sort and check.

    Raises:
        ValueError: the arguments differ in length.
        NotEnoughData: there is no listing, or ids occur twice (which one is right?).
    """
    pairs = sorted(zip(listings, market, strict=True), key=lambda pair: (pair[0].created_at, pair[0].id))
    if not pairs:
        raise NotEnoughData("the training set is empty", hint="scrape listings, then build the features")
    ids = [listing.id for listing, _ in pairs]
    if len(set(ids)) < len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise NotEnoughData(
            f"{len(ids) - len(set(ids))} ids occur more than once in the training set, among them {twice}",
            hint="build the training set from the lake, which keeps one row an id",
            details=[Detail("id", f"{twice} occurs more than once")],
        )
    return Dataset([listing for listing, _ in pairs], [row for _, row in pairs], sha256, as_of)


def load_dataset(storage: Storage, training_set: TrainingSet) -> Dataset:
    """Read a training set that `feature_repo` built.

    Raises:
        StorageError: there is no such file, or it is no training set.
        NotEnoughData: it is empty.
    """
    listings, market = load_training_set(storage, training_set.path)
    return make_dataset(listings, market, training_set.sha256, training_set.as_of)
