"""Listings of the holdout whose text is also, or nearly, that of an older listing.

Texts are sets of word triples (shingles) of the title and description. MinHash over `HASHES` random
functions, cut into bands, finds pairs that may be alike (Broder, On the resemblance and containment
of documents, 1997; Leskovec et al., Mining of Massive Datasets, 3.4); their similarity is then
counted exactly, as shared shingles over all of both (Jaccard).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graildient.listing import Listing

ALIKE = 0.8
"""Jaccard similarity from which a text is nearly another."""
SHORTEST = 5
"""Words; two "black t-shirt" are not one text."""
HASHES, BANDS = 64, 16
"""16 bands of 4 find a pair of similarity 0.8 with probability 0.9998, one of 0.3 with 0.12."""
PER_BAND = 8
"""Candidates looked at in a band: a seller's boilerplate would else be compared with itself for ever."""
MOST = 200_000
"""Past texts looked at, the newest."""
_WORD = re.compile(r"\w+")

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Copies:
    """One element a holdout listing: whether its text is (`exact`) or nearly is (`near`) in the past,
    and the number of the past listing that it is like (-1: none). `compared`: texts long enough to tell.
    """

    exact: npt.NDArray[np.bool_]
    near: npt.NDArray[np.bool_]
    like: npt.NDArray[np.int64]
    compared: int


def words(listing: Listing) -> list[str]:
    """The words of title and description, without case, marks and spacing."""
    return _WORD.findall(f"{listing.title} {listing.description or ''}".casefold())


def find_copies(past: Sequence[Listing], holdout: Sequence[Listing], seed: int) -> Copies:
    """Compare the text of every holdout listing with those of the past."""
    skipped = max(0, len(past) - MOST)
    old = [_shingles(words(one)) for one in past[skipped:]]
    new = [_shingles(words(one)) for one in holdout]
    exact = np.zeros(len(new), dtype=bool)
    near = np.zeros(len(new), dtype=bool)
    like = np.full(len(new), -1, dtype=np.int64)
    old_rows = [i for i, s in enumerate(old) if s.size]
    new_rows = [i for i, s in enumerate(new) if s.size]
    if old_rows and new_rows:
        rng = np.random.default_rng(seed)
        turn = rng.integers(1, 2**63, HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        shift = rng.integers(0, 2**63, HASHES, dtype=np.uint64)
        before = _bands([old[i] for i in old_rows], turn, shift)
        after = _bands([new[i] for i in new_rows], turn, shift)
        for at, candidates in enumerate(_candidates(before, after)):
            mine = new[new_rows[at]]
            best = 0.0
            for candidate in candidates:
                theirs = old[old_rows[candidate]]
                shared = np.intersect1d(mine, theirs, assume_unique=True).size
                alike = shared / (mine.size + theirs.size - shared)
                if alike > best:
                    best, like[new_rows[at]] = alike, old_rows[candidate] + skipped
            exact[new_rows[at]], near[new_rows[at]] = best == 1.0, best >= ALIKE
        like[~near] = -1
    return Copies(exact, near, like, len(new_rows))


def _shingles(found: list[str]) -> Hashes:
    """Sorted hashes of the word triples; none of a text that is too short."""
    if len(found) < SHORTEST:
        return np.empty(0, dtype=np.uint64)
    codes = np.array([zlib.crc32(word.encode()) for word in found], dtype=np.uint64)
    # Odd multipliers of 64 bits (those of the golden ratio and of Murmur's finaliser); overflow is meant.
    mixed = codes[:-2] * np.uint64(0x9E3779B97F4A7C15)
    mixed += codes[1:-1] * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed += codes[2:] * np.uint64(0x165667B19E3779F9)
    return np.unique(mixed ^ (mixed >> np.uint64(29)))


def _bands(shingles: Sequence[Hashes], turn: Hashes, shift: Hashes) -> Hashes:
    """One number a text and band, of shape (texts, BANDS): equal where all hashes of the band are."""
    flat = np.concatenate(shingles)
    starts = np.cumsum([0, *(s.size for s in shingles[:-1])])
    made = np.zeros((len(shingles), BANDS), dtype=np.uint64)
    rows = HASHES // BANDS
    for i in range(HASHES):
        least = np.minimum.reduceat((flat * turn[i] + shift[i]) >> np.uint64(16), starts)
        made[:, i // rows] = (made[:, i // rows] ^ least) * np.uint64(0x9E3779B97F4A7C15)
    return made


def _candidates(before: Hashes, after: Hashes) -> list[list[int]]:
    """Rows of `before` that share a band with each row of `after`, in rising order."""
    found: list[set[int]] = [set() for _ in range(len(after))]
    for band in range(BANDS):
        order = np.argsort(before[:, band], kind="stable")
        keys = before[order, band]
        first = np.searchsorted(keys, after[:, band], side="left")
        last = np.searchsorted(keys, after[:, band], side="right")
        for row in np.flatnonzero(last > first):
            found[row].update(order[max(first[row], last[row] - PER_BAND) : last[row]].tolist())
    return [sorted(rows) for rows in found]
