"""The pages and cover images of the stand-in."""

from __future__ import annotations

import io
import json
from functools import lru_cache
from html import escape
from typing import Any

from scrapers.marketplace.chance import seeded
from scrapers.marketplace.shape import Hit, camel_case, listing_payload

BANNER = "Synthetic data: every listing, designer and price here is made up."
ROBOTS = """User-agent: *
Allow: /listings/
Allow: /api/listings/
Allow: /1/indexes/
Disallow: /users/
Disallow: /sell/
"""
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:46rem;padding:0 1rem}"
    ".banner{background:#fde68a;padding:.5rem 1rem;border-radius:.4rem}img{max-width:240px}"
    "td{padding-right:1.5rem;vertical-align:top}"
)


def _page(title: str, synthetic: bool, body: str) -> str:
    banner = f'<p class="banner">{BANNER}</p>' if synthetic else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{banner}{body}</body></html>"
    )


def index_page(source: str, sold: int, active: int, synthetic: bool, examples: list[Hit]) -> str:
    """What this server is, and where to look."""
    links = "".join(
        f'<li><a href="{escape(str(h["listing_url"]))}">{escape(str(h["title"]))}</a></li>' for h in examples
    )
    return _page(
        "Stand-in marketplace",
        synthetic,
        "<h1>Stand-in marketplace</h1><p>A local server in the shape of a marketplace for second-hand "
        "fashion, for trying and testing graildient. It is not the real site and not connected to it.</p>"
        f"<p>Catalogue: {escape(source)}; {sold:,} sold, {active:,} for sale.</p>"
        "<ul><li><code>POST /1/indexes/*/queries</code> multi-query search</li>"
        "<li><code>GET /api/listings/{id}</code> one listing as JSON</li>"
        "<li><code>GET /listings/{id}</code> one listing as a page</li>"
        "<li><code>GET /images/{id}.jpg</code> its cover</li>"
        '<li><a href="/robots.txt">/robots.txt</a></li></ul>'
        f"<h2>Some listings</h2><ul>{links}</ul>",
    )


def listing_page(hit: Hit, synthetic: bool) -> str:
    """A listing page with its data in `__NEXT_DATA__`, in camelCase."""
    data = listing_payload(hit)
    page: dict[str, Any] = {
        "props": {"pageProps": {"listing": camel_case(data)}},
        "page": "/listings/[id]",
        "query": {"id": str(hit.get("id"))},
    }
    # Markup in a description must not end the element, nor begin another in it.
    embedded = json.dumps(page, default=str).replace("<", "\\u003c")
    state = f"Sold for ${hit.get('sold_price')}" if hit.get("sold") else f"Asking ${hit.get('price')}"
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>"
        for name, value in (
            ("Designer", hit.get("designer_names")),
            ("Category", hit.get("category_path")),
            ("Size", hit.get("size")),
            ("Colour", hit.get("color")),
            ("Condition", hit.get("condition")),
        )
        if value
    )
    title = str(hit.get("title"))
    return _page(
        title,
        synthetic,
        f"<h1>{escape(title)}</h1><p>{escape(state)}</p>"
        f'<img src="{escape(str(hit.get("cover_photo_url")))}" alt="cover"><table>{rows}</table>'
        f"<p>{escape(str(hit.get('description') or ''))}</p>"
        f'<script id="__NEXT_DATA__" type="application/json">{embedded}</script>',
    )


_INKS = {
    "black": (30, 30, 32), "blue": (52, 92, 168), "white": (238, 238, 232), "gray": (140, 142, 146),
    "brown": (112, 78, 52), "green": (68, 110, 72), "navy": (28, 40, 84), "beige": (214, 196, 164),
    "red": (178, 44, 44), "orange": (222, 122, 40), "purple": (108, 70, 140), "yellow": (228, 200, 64),
}  # fmt: skip


@lru_cache(maxsize=512)
def cover(listing_id: int, color: str, kind: str, synthetic: bool) -> bytes:
    """A drawn garment as JPEG: the same bytes for the same listing."""
    from PIL import Image, ImageDraw

    random = seeded("cover", listing_id)
    shade = random.randint(196, 228)
    image = Image.new("RGB", (300, 400), (shade, shade - 6, shade - 14))
    draw = ImageDraw.Draw(image)
    ink = _INKS.get(color, (120, 110, 130))
    left, right = 80 - random.randint(0, 12), 220 + random.randint(0, 12)
    if "bottoms" in kind:
        draw.polygon(
            [
                (left + 20, 90),
                (right - 20, 90),
                (right, 330),
                (160, 330),
                (150, 170),
                (140, 330),
                (left, 330),
            ],
            ink,
        )
    elif "footwear" in kind:
        draw.rounded_rectangle((60, 210, 240, 270), 24, fill=ink)
        draw.rectangle((60, 262, 240, 278), fill=(60, 54, 50))
    elif "accessories" in kind or "bags" in kind or "jewelry" in kind:
        draw.ellipse((90, 140, 210, 280), fill=ink)
        draw.arc((110, 80, 190, 190), 180, 360, fill=ink, width=10)
    else:
        draw.polygon(
            [
                (left, 130),
                (120, 100),
                (180, 100),
                (right, 130),
                (right + 30, 210),
                (right, 220),
                (right - 15, 180),
                (right - 15, 310),
                (left + 15, 310),
                (left + 15, 180),
                (left, 220),
                (left - 30, 210),
            ],
            ink,
        )
    label = "SYNTHETIC" if synthetic else "STAND-IN"
    draw.text((12, 376), f"{label} {listing_id}", fill=(90, 80, 70))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return out.getvalue()
