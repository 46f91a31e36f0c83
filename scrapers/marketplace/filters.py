"""The filter languages of the search endpoint, parsed to one small tree.

`numericFilters` and `facetFilters` are JSON (a list is AND, a list inside it is OR) or a comma
list; `filters` is the expression language with AND, OR, NOT, parentheses, `attribute:value`,
`attribute:low TO high` and comparisons.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

Operator = Literal["<", "<=", "=", "!=", ">=", ">"]


class SearchError(Exception):
    """A query that the endpoint refuses; the status and message go to the client."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


@dataclass(frozen=True)
class Compare:
    """A numeric comparison."""

    attribute: str
    operator: Operator
    value: float


@dataclass(frozen=True)
class Facet:
    """A facet value that must be there."""

    attribute: str
    value: str


@dataclass(frozen=True)
class Not:
    term: Node


@dataclass(frozen=True)
class All:
    """Every term holds; without terms, always."""

    terms: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Any_:
    """One of the terms holds."""

    terms: tuple[Node, ...]


Node = Compare | Facet | Not | All | Any_

_COMPARE = re.compile(r"^\s*([\w.]+)\s*(<=|>=|!=|=|<|>)\s*(-?\d+(?:\.\d+)?)\s*$")
_RANGE = re.compile(r"^\s*([\w.]+)\s*:\s*(-?\d+(?:\.\d+)?)\s+TO\s+(-?\d+(?:\.\d+)?)\s*$")


def _numeric(text: str, name: str) -> Node:
    if found := _COMPARE.match(text):
        attribute, operator, value = found.groups()
        return Compare(attribute, operator, float(value))  # type: ignore[arg-type]
    if found := _RANGE.match(text):
        attribute, low, high = found.groups()
        return All((Compare(attribute, ">=", float(low)), Compare(attribute, "<=", float(high))))
    raise SearchError(f"{name}: not a comparison: {text!r}")


def _facet(text: str, name: str) -> Node:
    attribute, colon, value = text.partition(":")
    attribute = attribute.strip()
    if not colon or not attribute or not value.strip():
        raise SearchError(f"{name}: not attribute:value: {text!r}")
    value = value.strip()
    if value.startswith("-"):
        return Not(Facet(attribute, value[1:]))
    return Facet(attribute, value.removeprefix("\\") if value.startswith("\\-") else value)


def _nested(text: str, name: str) -> Node:
    leaf = _numeric if name == "numericFilters" else _facet
    stripped = text.strip()
    if not stripped:
        return All()
    if not stripped.startswith("["):
        return All(tuple(leaf(part, name) for part in stripped.split(",")))
    try:
        parsed: Any = json.loads(stripped)
    except ValueError:
        raise SearchError(f"{name}: not JSON: {text[:200]!r}") from None

    def term(value: Any, depth: int) -> Node:
        if isinstance(value, str):
            return leaf(value, name)
        if isinstance(value, list) and depth == 0:
            return Any_(tuple(term(v, 1) for v in value)) if value else All()
        raise SearchError(f"{name}: expected strings, or lists of strings one level deep")

    return All(tuple(term(value, 0) for value in parsed))


def parse_numeric_filters(text: str) -> Node:
    """`["sold_at_i>=1","sold_at_i<2"]`, with a nested list for OR, or a comma list."""
    return _nested(text, "numericFilters")


def parse_facet_filters(text: str) -> Node:
    """`["category:tops",["size:m","size:l"]]`; a value that begins with `-` is excluded."""
    return _nested(text, "facetFilters")


_TOKEN = re.compile(
    r"""\s*(?:
        (?P<open>\()|(?P<close>\))|
        (?P<word>AND\b|OR\b|NOT\b)|
        (?P<range>[\w.]+\s*:\s*-?\d+(?:\.\d+)?\s+TO\s+-?\d+(?:\.\d+)?)|
        (?P<compare>[\w.]+\s*(?:<=|>=|!=|=|<|>)\s*-?\d+(?:\.\d+)?)|
        (?P<facet>[\w.]+\s*:\s*(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s()]+))
    )""",
    re.VERBOSE,
)


def parse_filters(text: str) -> Node:
    """The expression language: `category:tops AND (size:m OR size:l) AND NOT price_i<50`."""
    tokens: list[tuple[str, str]] = []
    position = 0
    while text[position:].strip():
        found = _TOKEN.match(text, position)
        if not found or not found.lastgroup:
            raise SearchError(f"filters: unexpected text at {text[position : position + 40]!r}")
        tokens.append((found.lastgroup, found.group(found.lastgroup)))
        position = found.end()
    parser = _Expression(tokens)
    tree = parser.either() if tokens else All()
    if parser.position != len(tokens):
        raise SearchError(f"filters: unexpected {tokens[parser.position][1]!r}")
    return tree


class _Expression:
    """Recursive descent over the tokens of `filters`."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.tokens = tokens
        self.position = 0

    def _take(self, kind: str, text: str | None = None) -> str | None:
        if self.position < len(self.tokens):
            found, value = self.tokens[self.position]
            if found == kind and text in (None, value):
                self.position += 1
                return value
        return None

    def either(self) -> Node:
        terms = [self._both()]
        while self._take("word", "OR"):
            terms.append(self._both())
        return terms[0] if len(terms) == 1 else Any_(tuple(terms))

    def _both(self) -> Node:
        terms = [self._one()]
        while self._take("word", "AND"):
            terms.append(self._one())
        return terms[0] if len(terms) == 1 else All(tuple(terms))

    def _one(self) -> Node:
        if self._take("word", "NOT"):
            return Not(self._one())
        if self._take("open"):
            inner = self.either()
            if not self._take("close"):
                raise SearchError("filters: a parenthesis is not closed")
            return inner
        if text := (self._take("range") or self._take("compare")):
            return _numeric(text, "filters")
        if text := self._take("facet"):
            attribute, _, value = text.partition(":")
            value = value.strip()
            if value[0] in "\"'":
                value = re.sub(r"\\(.)", r"\1", value[1:-1])
            return Facet(attribute.strip(), value)
        raise SearchError("filters: an operand is missing")
