"""The search service of the stand-in: one index in memory, and the multi-query protocol over several.

Request: `{"requests": [{"indexName": "...", "params": "query=&page=0&..."}]}`; response:
`{"results": [...]}`, each in the shape of the hosted service that the source uses.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray

from scrapers.marketplace.filters import (
    All,
    Any_,
    Compare,
    Facet,
    Node,
    Not,
    SearchError,
    parse_facet_filters,
    parse_filters,
    parse_numeric_filters,
)

MAX_HITS_PER_PAGE = 1000
MAX_QUERIES = 50
NUMERIC = (
    "id",
    "price",
    "price_i",
    "sold_price",
    "created_at_i",
    "sold_at_i",
    "price_updated_at_i",
    "followerno",
    "photo_count",
)
FACETS = (
    "badges",
    "category",
    "category_path",
    "category_path_size",
    "category_size",
    "color",
    "condition",
    "department",
    "designers.name",
    "hashtags",
    "location",
    "price_i",
    "size",
    "sold_at_i",
    "created_at_i",
    "strata",
    "synthetic",
)
IntArray = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Query:
    """One parsed `params` string."""

    params: str
    text: str
    page: int
    hits_per_page: int
    where: Node
    facets: tuple[str, ...]
    values_per_facet: int
    attributes: frozenset[str] | None

    @classmethod
    def parse(cls, params: str) -> Query:
        """Raises SearchError for what the endpoint refuses; parameters it does not know are ignored."""
        given = dict(parse_qsl(params, keep_blank_values=True))

        def number(name: str, default: int, most: int) -> int:
            raw = given.get(name, "").strip() or str(default)
            if not raw.isdecimal() or int(raw) > most:
                raise SearchError(f"invalid value for {name!r}, expected an integer of 0 to {most}")
            return int(raw)

        def names(name: str) -> list[str]:
            raw = given.get(name, "").strip()
            if not raw.startswith("["):
                return [part.strip() for part in raw.split(",") if part.strip()]
            try:
                parsed = json.loads(raw)
            except ValueError:
                raise SearchError(f"invalid value for {name!r}, expected a list of names") from None
            if not all(isinstance(value, str) for value in parsed):
                raise SearchError(f"invalid value for {name!r}, expected a list of names")
            return list(parsed)

        wanted = names("facets")
        attributes = names("attributesToRetrieve")
        return cls(
            params=params,
            text=given.get("query", ""),
            page=number("page", 0, 10**9),
            hits_per_page=number("hitsPerPage", 20, MAX_HITS_PER_PAGE),
            where=All(
                (
                    parse_numeric_filters(given.get("numericFilters", "")),
                    parse_facet_filters(given.get("facetFilters", "")),
                    parse_filters(given.get("filters", "")),
                )
            ),
            facets=FACETS if "*" in wanted else tuple(f for f in wanted if f in FACETS),
            values_per_facet=number("maxValuesPerFacet", 100, 1000),
            attributes=None
            if "attributesToRetrieve" not in given or "*" in attributes
            else frozenset(attributes),
        )


def _values(hit: Mapping[str, Any], attribute: str) -> list[Any]:
    """Every value of an attribute; a dotted one looks into a list of objects."""
    head, _, tail = attribute.partition(".")
    found = hit.get(head)
    several = found if isinstance(found, list) else [found]
    if tail:
        several = [value.get(tail) for value in several if isinstance(value, dict)]
    return [value for value in several if value is not None and value != ""]


def _facet_text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class Index:
    """Hits in descending order of one time attribute, with columns for filters and facets.

    A hit without that time comes last, as a hit with time 0.
    """

    def __init__(self, name: str, hits: Sequence[dict[str, Any]], order: str, *, cap: int = 1000) -> None:
        self.name = name
        self.order = order
        self.cap = cap
        self.hits = sorted(hits, key=lambda h: (_number(h.get(order)) or 0.0, _number(h.get("id")) or 0.0))
        self._bodies: list[bytes | None] = [None] * len(self.hits)
        self._numbers: dict[str, NDArray[np.float64]] = {}
        self._facets: dict[str, tuple[dict[str, int], IntArray, IntArray]] = {}
        self._words: list[str] | None = None
        self._times = np.nan_to_num(self._column(order), nan=0.0)

    def _column(self, attribute: str) -> NDArray[np.float64]:
        if attribute not in self._numbers:
            if attribute not in NUMERIC:
                raise SearchError(f"{attribute!r} is not a numeric attribute; one of {', '.join(NUMERIC)}")
            values = (_number(hit.get(attribute)) for hit in self.hits)
            self._numbers[attribute] = np.array(
                [np.nan if v is None else v for v in values], dtype=np.float64
            )
        return self._numbers[attribute]

    def _facet_column(self, attribute: str) -> tuple[dict[str, int], IntArray, IntArray]:
        """Codes by value; and two parallel arrays, row and code, of every value that a hit has."""
        if attribute not in self._facets:
            codes: dict[str, int] = {}
            rows: list[int] = []
            found: list[int] = []
            for row, hit in enumerate(self.hits):
                for text in dict.fromkeys(_facet_text(v) for v in _values(hit, attribute)):
                    rows.append(row)
                    found.append(codes.setdefault(text, len(codes)))
            self._facets[attribute] = (codes, np.array(rows, dtype=np.int64), np.array(found, dtype=np.int64))
        return self._facets[attribute]

    def _mask(self, node: Node) -> Mask:
        everything = np.ones(len(self.hits), dtype=np.bool_)
        match node:
            case All(terms):
                return reduce(np.logical_and, (self._mask(t) for t in terms), everything)
            case Any_(terms):
                return reduce(np.logical_or, (self._mask(t) for t in terms), ~everything)
            case Not(term):
                return ~self._mask(term)
            case Compare():
                return self._compare(node)
            case Facet(attribute, value):
                mask = ~everything
                # As in the real service: an attribute that is not a facet matches nothing.
                if attribute in FACETS:
                    codes, rows, found = self._facet_column(attribute)
                    mask[rows[found == codes.get(value, -1)]] = True
                return mask

    def _compare(self, term: Compare) -> Mask:
        if term.attribute == self.order:
            left = int(np.searchsorted(self._times, term.value, "left"))
            right = int(np.searchsorted(self._times, term.value, "right"))
            start, end = {
                "<": (0, left),
                "<=": (0, right),
                "=": (left, right),
                "!=": (left, right),
                ">=": (left, len(self.hits)),
                ">": (right, len(self.hits)),
            }[term.operator]
            mask = np.zeros(len(self.hits), dtype=np.bool_)
            mask[start:end] = True
            return ~mask if term.operator == "!=" else mask
        column = self._column(term.attribute)
        compare = {
            "<": np.less,
            "<=": np.less_equal,
            "=": np.equal,
            "!=": np.not_equal,
            ">=": np.greater_equal,
            ">": np.greater,
        }[term.operator]
        return np.asarray(compare(column, term.value) & ~np.isnan(column))

    def _text_mask(self, text: str) -> Mask:
        if self._words is None:
            self._words = [
                " "
                + " ".join(
                    str(v) for v in (h.get("title"), h.get("designer_names"), h.get("color")) if v
                ).lower()
                for h in self.hits
            ]
        wanted = [" " + word for word in text.lower().split()]
        return np.array([all(w in words for w in wanted) for words in self._words], dtype=np.bool_)

    def _body(self, row: int, attributes: frozenset[str] | None) -> bytes:
        if attributes is None:
            body = self._bodies[row]
            if body is None:
                body = self._bodies[row] = _json(self.hits[row])
            return body
        return _json({k: v for k, v in self.hits[row].items() if k == "objectID" or k in attributes})

    def _facet_counts(self, rows: Mask, query: Query) -> dict[str, Any]:
        counts: dict[str, dict[str, int]] = {}
        stats: dict[str, dict[str, float]] = {}
        for attribute in query.facets:
            codes, owners, found = self._facet_column(attribute)
            numbers = np.bincount(found[rows[owners]], minlength=len(codes))
            ranked = sorted(((-int(numbers[code]), text) for text, code in codes.items() if numbers[code]))
            if ranked:
                counts[attribute] = {text: -count for count, text in ranked[: query.values_per_facet]}
            if attribute in NUMERIC:
                values = self._column(attribute)[rows]
                values = values[~np.isnan(values)]
                if len(values):
                    total = float(values.sum())
                    stats[attribute] = {
                        "min": _plain(float(values.min())),
                        "max": _plain(float(values.max())),
                        "avg": total / len(values),
                        "sum": _plain(total),
                    }
        answer: dict[str, Any] = {"facets": counts, "exhaustiveFacetsCount": True}
        if stats:
            answer["facets_stats"] = stats
        return answer

    def answer(self, query: Query) -> bytes:
        """One result object as JSON bytes; at most `cap` hits can be paged through."""
        began = time.perf_counter()
        mask = self._mask(query.where)
        if query.text.strip():
            mask &= self._text_mask(query.text)
        # Newest first, as the site shows them.
        rows = np.flatnonzero(mask)[::-1]
        first = query.page * query.hits_per_page
        shown = rows[: self.cap][first : first + query.hits_per_page]
        reachable = min(len(rows), self.cap)
        body: dict[str, Any] = {
            "nbHits": len(rows),
            "page": query.page,
            "nbPages": -(-reachable // query.hits_per_page) if query.hits_per_page else 0,
            "hitsPerPage": query.hits_per_page,
        }
        if query.facets:
            body |= self._facet_counts(mask, query)
        body |= {
            "exhaustiveNbHits": True,
            "query": query.text,
            "params": query.params,
            "index": self.name,
            "processingTimeMS": max(1, round(1000 * (time.perf_counter() - began))),
        }
        hits = b",".join(self._body(int(row), query.attributes) for row in shown)
        return b'{"hits":[' + hits + b"]," + _json(body)[1:]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _plain(value: float) -> float:
    return int(value) if value.is_integer() else value


def answer_queries(body: bytes, indices: Mapping[str, Index]) -> bytes:
    """Answer one multi-query request.

    Raises:
        SearchError: 400 for what is malformed, 404 for an index that is not there.
    """
    try:
        parsed = json.loads(body)
    except ValueError:
        raise SearchError("invalid JSON body") from None
    requests = parsed.get("requests") if isinstance(parsed, dict) else None
    if not isinstance(requests, list):
        raise SearchError("'requests' must be a list of queries")
    if len(requests) > MAX_QUERIES:
        raise SearchError(f"'requests' holds {len(requests)} queries; at most {MAX_QUERIES}")
    results = []
    for number, request in enumerate(requests):
        name = request.get("indexName") if isinstance(request, dict) else None
        params = request.get("params", "") if isinstance(request, dict) else None
        if not isinstance(name, str) or not isinstance(params, str):
            raise SearchError(f"requests[{number}]: expected 'indexName' and 'params' as strings")
        if name not in indices:
            raise SearchError(f"Index {name} does not exist", 404)
        results.append(indices[name].answer(Query.parse(params)))
    return b'{"results":[' + b",".join(results) + b"]}"
