from __future__ import annotations

from collections.abc import Iterator

import pytest

from graildient import errors
from graildient.errors import Detail, GraildientError, InvalidListing


def below(kind: type[GraildientError]) -> Iterator[type[GraildientError]]:
    for child in kind.__subclasses__():
        yield child
        yield from below(child)


def test_one_json_shape() -> None:
    error = InvalidListing("size: wrong", hint="say l", details=[Detail("size", "wrong")])
    assert error.to_json() == {
        "error": "size: wrong",
        "code": "invalid_listing",
        "details": [{"field": "size", "reason": "wrong"}],
        "hint": "say l",
    }
    assert InvalidListing("x").to_json() == {"error": "x", "code": "invalid_listing", "details": []}
    assert str(error) == "size: wrong"


@pytest.mark.parametrize("kind", [GraildientError, *below(GraildientError)])
def test_every_error_has_a_code_of_its_own_a_status_and_a_place_in_the_tree(
    kind: type[GraildientError],
) -> None:
    codes = [k.code for k in below(GraildientError)]
    assert codes.count(kind.code) <= 1
    assert 400 <= kind.http_status < 600
    assert kind.__doc__
    if kind.__module__ == errors.__name__:  # rooms keep the tree of their own errors
        assert kind.__name__ in (errors.__doc__ or "")
