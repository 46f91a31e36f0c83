"""The stand-in's protocol, asked in-process through its ASGI application, and once as a process."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from PIL import Image
from pydantic import ValidationError
from starlette.types import ASGIApp

from graildient.listing import SoldListing
from graildient.parsing import parse_hit, parse_listing, parse_page
from scrapers.marketplace.catalogue import Catalogue, synthetic
from scrapers.marketplace.filters import SearchError, parse_filters, parse_numeric_filters
from scrapers.marketplace.search import Query
from scrapers.marketplace.server import application
from scrapers.marketplace.settings import MarketplaceSettings

SOLD = "Listing_sold_production"
ACTIVE = "Listing_production"
SEARCH = "/1/indexes/*/queries"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return synthetic(1500, 5)


@pytest.fixture(scope="module")
def app(catalogue: Catalogue) -> ASGIApp:
    return application(catalogue, MarketplaceSettings(cap=500))


def call(app: ASGIApp, method: str, path: str, **options: Any) -> httpx.Response:
    async def one() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://market") as client:
            return await client.request(method, path, **options)

    return asyncio.run(one())


def ask(app: ASGIApp, index: str = SOLD, **params: Any) -> dict[str, Any]:
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in params.items()}
    body = {"requests": [{"indexName": index, "params": urlencode(texts)}]}
    answer = call(app, "POST", SEARCH, json=body)
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results[0]


def refusal(app: ASGIApp, body: Any = None, **params: str) -> tuple[int, str]:
    if body is None:
        body = {"requests": [{"indexName": SOLD, "params": urlencode(params)}]}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = call(app, "POST", SEARCH, content=content)
    assert answer.json()["status"] == answer.status_code
    return answer.status_code, answer.json()["message"]


@pytest.mark.real
def test_an_answer_has_the_shape_of_the_source(app: ASGIApp, shared_data: Path) -> None:
    real = json.loads((shared_data / "payload_search_response_2020.json").read_text())["results"][0]
    ours = ask(app, query="", hitsPerPage=40, facets=["strata", "price_i"])
    assert set(real) - {"exhaustiveFacetsCount"} <= set(ours)
    assert set(real["facets_stats"]["price_i"]) == set(ours["facets_stats"]["price_i"])
    # What the parsers read of a hit is under the same names.
    assert {"id", "objectID", "title", "designers", "category_path", "sold_at_i", "created_at_i"} <= set(
        ours["hits"][0]
    ) & set(real["hits"][0])


def test_hits_are_listings_newest_first(app: ASGIApp) -> None:
    hits = ask(app, hitsPerPage=50)["hits"]
    assert [h["sold_at_i"] for h in hits] == sorted((h["sold_at_i"] for h in hits), reverse=True)
    assert all(isinstance(parse_hit(h), SoldListing) for h in hits)
    assert all(h["synthetic"] for h in hits)


def test_pages_stop_at_the_cap_but_the_count_does_not(app: ASGIApp, catalogue: Catalogue) -> None:
    first = ask(app, hitsPerPage=200)
    assert first["nbHits"] == len(catalogue.sold) > 1000
    assert first["nbPages"] == 3
    sizes = [len(ask(app, hitsPerPage=200, page=n)["hits"]) for n in range(4)]
    assert sizes == [200, 200, 100, 0]
    ids = {h["id"] for n in range(3) for h in ask(app, hitsPerPage=200, page=n)["hits"]}
    assert len(ids) == 500


def test_counting_needs_no_hits(app: ASGIApp, catalogue: Catalogue) -> None:
    answer = ask(app, hitsPerPage=0)
    assert (answer["hits"], answer["nbHits"], answer["nbPages"]) == ([], len(catalogue.sold), 0)


@pytest.mark.parametrize("as_list", [True, False])
def test_numeric_filters_cut_exactly(app: ASGIApp, catalogue: Catalogue, as_list: bool) -> None:
    times = sorted(h["sold_at_i"] for h in catalogue.sold)
    low, high = times[100], times[300]
    parts = [f"sold_at_i>={low}", f"sold_at_i<{high}"]
    found = ask(app, hitsPerPage=0, numericFilters=parts if as_list else ",".join(parts))["nbHits"]
    assert found == sum(low <= t < high for t in times)


@pytest.mark.parametrize("operator", ["<", "<=", "=", "!=", ">=", ">"])
@pytest.mark.parametrize("attribute", ["sold_at_i", "price_i"])
def test_every_comparison(app: ASGIApp, catalogue: Catalogue, attribute: str, operator: str) -> None:
    value = sorted(h[attribute] for h in catalogue.sold)[200]
    compare: dict[str, Callable[[int], bool]] = {
        "<": lambda x: x < value,
        "<=": lambda x: x <= value,
        "=": lambda x: x == value,
        "!=": lambda x: x != value,
        ">=": lambda x: x >= value,
        ">": lambda x: x > value,
    }
    found = ask(app, hitsPerPage=0, numericFilters=[f"{attribute}{operator}{value}"])["nbHits"]
    assert found == sum(compare[operator](h[attribute]) for h in catalogue.sold)


def test_a_nested_list_is_or(app: ASGIApp, catalogue: Catalogue) -> None:
    numeric = ask(app, hitsPerPage=0, numericFilters=[["price_i<30", "price_i>400"]])["nbHits"]
    assert numeric == sum(h["price_i"] < 30 or h["price_i"] > 400 for h in catalogue.sold)
    both = ask(app, hitsPerPage=0, facetFilters=["category:tops", ["size:m", "size:l"]])["nbHits"]
    assert both == sum(h["category"] == "tops" and h["size"] in ("m", "l") for h in catalogue.sold) > 0
    without = ask(app, hitsPerPage=0, facetFilters=["category:-tops"])["nbHits"]
    assert without == sum(h["category"] != "tops" for h in catalogue.sold)


def test_facet_filters_look_into_lists_and_missing_values(app: ASGIApp, catalogue: Catalogue) -> None:
    name = catalogue.sold[0]["designers"][0]["name"]
    found = ask(app, hitsPerPage=0, facetFilters=[f"designers.name:{name}"])["nbHits"]
    assert found == sum(name in [d["name"] for d in h["designers"]] for h in catalogue.sold)
    colours = sorted({h["color"] for h in catalogue.sold if h["color"]})
    without = ask(app, hitsPerPage=0, facetFilters=[f"color:-{c}" for c in colours])["nbHits"]
    assert without == sum(h["color"] is None for h in catalogue.sold) > 0
    assert ask(app, hitsPerPage=0, facetFilters=["title:Tee"])["nbHits"] == 0


def is_black(hit: dict[str, Any], *sizes: str) -> bool:
    return hit["color"] == "black" and hit["size"] in sizes


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("size:m AND NOT color:black", lambda h: h["size"] == "m" and h["color"] != "black"),
        ("size:m OR size:l AND color:black", lambda h: h["size"] == "m" or is_black(h, "l")),
        ("(size:m OR size:l) AND color:black", lambda h: is_black(h, "m", "l")),
        ("price_i:50 TO 90", lambda h: 50 <= h["price_i"] <= 90),
        ('size:"one size" AND price_i >= 40', lambda h: h["size"] == "one size" and h["price_i"] >= 40),
    ],
)  # fmt: skip
def test_filter_expressions(
    app: ASGIApp, catalogue: Catalogue, text: str, rule: Callable[[dict[str, Any]], bool]
) -> None:
    assert ask(app, hitsPerPage=0, filters=text)["nbHits"] == sum(map(rule, catalogue.sold)) > 0


def test_facets_count_what_was_found(app: ASGIApp, catalogue: Catalogue) -> None:
    answer = ask(
        app,
        hitsPerPage=0,
        facets=["category_path", "sold_at_i", "nonsense"],
        maxValuesPerFacet=3,
        facetFilters=["category:tops"],
    )
    counts = answer["facets"]["category_path"]
    assert len(counts) == 3
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    for path, count in counts.items():
        assert count == sum(h["category_path"] == path for h in catalogue.sold)
    times = [h["sold_at_i"] for h in catalogue.sold if h["category"] == "tops"]
    assert answer["facets_stats"]["sold_at_i"]["min"] == min(times)
    assert answer["facets_stats"]["sold_at_i"]["max"] == max(times)
    assert "nonsense" not in answer["facets"]


def test_words_of_a_query_are_prefixes_and_all_must_be_there(app: ASGIApp, catalogue: Catalogue) -> None:
    found = ask(app, query="arch TEE", hitsPerPage=100)["hits"]
    assert found
    for hit in found:
        words = f"{hit['title']} {hit['designer_names']} {hit['color']}".lower().split()
        assert any(w.startswith("arch") for w in words)
        assert any(w.startswith("tee") for w in words)
    assert ask(app, query="zzzz")["nbHits"] == 0


def test_only_the_attributes_asked_for(app: ASGIApp) -> None:
    assert set(ask(app, attributesToRetrieve=["title", "id"])["hits"][0]) == {"objectID", "title", "id"}
    assert set(ask(app, attributesToRetrieve=[])["hits"][0]) == {"objectID"}
    assert "title" in ask(app, attributesToRetrieve=["*"])["hits"][0]


def test_several_queries_are_answered_in_order(app: ASGIApp, catalogue: Catalogue) -> None:
    requests = [{"indexName": name, "params": "hitsPerPage=0"} for name in (ACTIVE, SOLD)]
    results = call(app, "POST", SEARCH, json={"requests": requests}).json()["results"]
    assert [r["index"] for r in results] == [ACTIVE, SOLD]
    assert [r["nbHits"] for r in results] == [len(catalogue.active), len(catalogue.sold)]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"{", "JSON"),
        (b"\xff\xfe", "JSON"),
        ([], "requests"),
        ({"requests": {}}, "requests"),
        ({"requests": ["x"]}, "requests[0]"),
        ({"requests": [{"indexName": SOLD, "params": {}}]}, "requests[0]"),
        ({"requests": [{"indexName": SOLD, "params": ""}] * 51}, "at most 50"),
    ],
)
def test_a_malformed_request_is_400(app: ASGIApp, body: Any, word: str) -> None:
    status, message = refusal(app, body)
    assert status == 400
    assert word in message


@pytest.mark.parametrize(
    "params",
    [
        {"hitsPerPage": "1001"},
        {"hitsPerPage": "-1"},
        {"page": "one"},
        {"numericFilters": '["sold_at_i>>1"]'},
        {"numericFilters": "["},
        {"numericFilters": '[[["sold_at_i>1"]]]'},
        {"numericFilters": "title>1"},
        {"facetFilters": "category"},
        {"facetFilters": "[1]"},
        {"facets": "[1]"},
        {"filters": "size:m AND"},
        {"filters": "(size:m"},
        {"filters": "size:m size:l"},
        {"filters": "~"},
    ],
)
def test_a_malformed_query_is_400_and_says_which_part(app: ASGIApp, params: dict[str, str]) -> None:
    status, message = refusal(app, **params)
    assert status == 400
    assert next(iter(params)) in message or "title" in message


def test_an_unknown_index_is_404(app: ASGIApp) -> None:
    status, message = refusal(app, {"requests": [{"indexName": "Users", "params": ""}]})
    assert (status, message) == (404, "Index Users does not exist")


def test_credentials_are_asked_for_when_set(catalogue: Catalogue) -> None:
    guarded = application(catalogue, MarketplaceSettings(search_app="APP", search_key="secret"))  # type: ignore[arg-type]
    body = {"requests": [{"indexName": SOLD, "params": "hitsPerPage=0"}]}
    right = {"x-algolia-application-id": "APP", "x-algolia-api-key": "secret"}
    assert call(guarded, "POST", SEARCH, json=body, headers=right).status_code == 200
    assert call(guarded, "POST", SEARCH, json=body, params=right).status_code == 200
    for wrong in ({}, right | {"x-algolia-api-key": "guess"}, right | {"x-algolia-application-id": "X"}):
        answer = call(guarded, "POST", SEARCH, json=body, headers=wrong)
        assert answer.status_code == 403
        assert "secret" not in answer.text


def test_endpoint_page_and_hit_tell_of_the_same_listing(app: ASGIApp, catalogue: Catalogue) -> None:
    for hit in (*catalogue.sold[:20], *catalogue.active[:20]):
        from_hit = parse_hit(hit)
        from_endpoint = parse_listing(call(app, "GET", f"/api/listings/{hit['id']}").json())
        page = call(app, "GET", hit["listing_url"])
        assert from_endpoint == from_hit == parse_page(page.text)
        assert "Synthetic data" in page.text
        assert '"synthetic": true' in page.text


def test_markup_in_a_description_cannot_leave_the_data_element(catalogue: Catalogue) -> None:
    hit = {**catalogue.sold[0], "description": "</script><script>alert(1)</script>", "title": "<b>Tee</b>"}
    page = call(
        application(Catalogue((hit,), (), True, "x"), MarketplaceSettings()), "GET", hit["listing_url"]
    )
    assert "<script>alert" not in page.text
    assert "<b>Tee" not in page.text.split("__NEXT_DATA__")[0]
    assert parse_page(page.text).description == "</script><script>alert(1)</script>"


@pytest.mark.parametrize(
    "path", ["/listings/1", "/api/listings/1", "/images/1.jpg", "/listings/x", "/images/x"]
)
def test_what_is_not_there_is_404(app: ASGIApp, path: str) -> None:
    assert call(app, "GET", path).status_code == 404


def test_covers_are_images_and_always_the_same(app: ASGIApp, catalogue: Catalogue) -> None:
    bodies = []
    for hit in catalogue.sold[:8]:
        answer = call(app, "GET", hit["cover_photo_url"])
        assert answer.headers["content-type"] == "image/jpeg"
        assert Image.open(io.BytesIO(answer.content)).size == (300, 400)
        assert call(app, "GET", hit["cover_photo_url"]).content == answer.content
        bodies.append(answer.content)
    assert len(set(bodies)) == len(bodies)


def test_the_front_page_says_what_this_is(app: ASGIApp) -> None:
    page = call(app, "GET", "/").text
    assert "not the real site" in page
    assert "Synthetic data" in page
    robots = call(app, "GET", "/robots.txt").text
    assert "Allow: /1/indexes/" in robots
    assert "Disallow: /users/" in robots
    assert call(app, "GET", "/healthz").json()["status"] == "ok"


def test_until_shows_the_catalogue_as_it_was(catalogue: Catalogue) -> None:
    moment = "2026-01-01T00:00:00Z"
    earlier = application(catalogue, MarketplaceSettings(until=moment))  # type: ignore[arg-type]
    limit = 1767225600
    sold = ask(earlier, hitsPerPage=0, facets=["sold_at_i"])
    assert sold["nbHits"] == sum(h["sold_at_i"] < limit for h in catalogue.sold)
    active = ask(earlier, ACTIVE, hitsPerPage=1000)["hits"]
    assert all(h["created_at_i"] < limit and not h["sold"] and h["sold_price"] == 0 for h in active)
    later = {h["id"] for h in catalogue.sold if h["created_at_i"] < limit <= h["sold_at_i"]}
    assert later <= {h["id"] for h in active}


def statuses(app: ASGIApp, requests: int) -> list[str]:
    found = []
    for number in range(requests):
        body = {"requests": [{"indexName": SOLD, "params": f"hitsPerPage=1&page={number}"}]}
        answer = call(app, "POST", SEARCH, json=body)
        if answer.status_code == 429:
            assert answer.headers["retry-after"] == "7"
        try:
            answer.json()
            found.append(str(answer.status_code))
        except ValueError:
            found.append("malformed" if answer.status_code == 200 else str(answer.status_code))
    return found


def test_faults_come_at_their_rates_and_the_same_every_time(catalogue: Catalogue) -> None:
    settings = MarketplaceSettings(rate_429=0.1, rate_500=0.2, rate_malformed=0.1, retry_after=7)
    found = statuses(application(catalogue, settings), 300)
    assert statuses(application(catalogue, settings), 300) == found
    assert 15 < found.count("429") < 50
    assert 40 < found.count("500") < 85
    assert 15 < found.count("malformed") < 50
    assert found.count("200") > 130


def test_the_same_request_fails_no_more_often_than_allowed(catalogue: Catalogue) -> None:
    app = application(catalogue, MarketplaceSettings(rate_500=1, faults_in_a_row=2))
    body = {"requests": [{"indexName": SOLD, "params": ""}]}
    codes = [call(app, "POST", SEARCH, json=body).status_code for _ in range(6)]
    assert codes == [500, 500, 200, 500, 500, 200]
    assert call(app, "GET", "/healthz").status_code == 200


def test_rates_above_one_are_refused() -> None:
    with pytest.raises(ValidationError, match="together"):
        MarketplaceSettings(rate_429=0.6, rate_500=0.5)


def test_broken_and_double_listings_are_served_on_demand(catalogue: Catalogue) -> None:
    settings = MarketplaceSettings(broken_rate=0.1, duplicate_rate=0.1)
    shown = catalogue.seen_by(settings)
    assert shown == catalogue.seen_by(settings)
    whole = {h["id"]: h for h in catalogue.sold}
    broken = [h for h in shown.sold if h != whole[h["id"]]]
    assert 0.05 < len(broken) / len(catalogue.sold) < 0.15
    assert 0.05 < len(shown.sold) / len(catalogue.sold) - 1 < 0.15


@pytest.mark.parametrize("text", ["", " ", "[]"])
def test_no_filter_is_every_listing(app: ASGIApp, catalogue: Catalogue, text: str) -> None:
    assert ask(app, hitsPerPage=0, numericFilters=text, facetFilters=text)["nbHits"] == len(catalogue.sold)


def test_query_parsing_refuses_by_name() -> None:
    with pytest.raises(SearchError, match="hitsPerPage"):
        Query.parse("hitsPerPage=9999")
    with pytest.raises(SearchError, match="numericFilters"):
        parse_numeric_filters("a")
    with pytest.raises(SearchError, match="operand"):
        parse_filters("NOT")
