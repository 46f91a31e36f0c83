"""What a person sees in a browser: the landing page, and the routes, drawn from the OpenAPI description.

Everything is in the page itself: no script, and nothing is fetched from elsewhere.
"""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any

from graildient.listing import Listing
from serving.tensors import INPUTS, OUTPUTS

DESCRIPTION = "What a second-hand fashion listing will sell for: a price, an 80 % range, and the reasons."

EXAMPLE: dict[str, Any] = {
    "title": "Geobasket high-top sneakers",
    "designers": ["Rick Owens"],
    "department": "menswear",
    "category": "footwear",
    "size": "43",
    "condition": "gently_used",
    "photo_count": 6,
}

_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype", "data"],
    "additionalProperties": False,
    "properties": {
        "name": {"enum": [spec.name for spec in INPUTS]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 2},
        "datatype": {"type": "string"},
        "parameters": {"type": "object"},
        "data": {"type": "array"},
    },
}
_V1 = {
    "type": "object",
    "required": ["instances"],
    "additionalProperties": False,
    "properties": {"instances": {"type": "array", "minItems": 1, "items": Listing.model_json_schema()}},
}
_V2 = {
    "type": "object",
    "required": ["inputs"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string", "maxLength": 128},
        "parameters": {"type": "object"},
        "inputs": {"type": "array", "minItems": 1, "items": _TENSOR},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"enum": [spec.name for spec in OUTPUTS]},
                    "parameters": {"type": "object"},
                },
            },
        },
    },
}


def _v2_example() -> dict[str, Any]:
    wanted = {"title": [EXAMPLE["title"]], "designers": ["Rick Owens"], "condition": ["gently_used"]}
    return {
        "inputs": [{"name": n, "shape": [1], "datatype": "BYTES", "data": data} for n, data in wanted.items()]
    }


def _body(schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": schema, "example": example}}
    return {"openapi_extra": {"requestBody": {"required": True, "content": content}}}


V1_BODY = _body(_V1, {"instances": [EXAMPLE]})
V2_BODY = _body(_V2, _v2_example())

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--accent:#2f6f4f}
@media(prefers-color-scheme:dark){:root{--accent:#7fc8a0}}
body{font:16px/1.55 system-ui,sans-serif;max-width:50rem;margin:3rem auto;padding:0 1.25rem}
h1{font-size:1.7rem;margin:0}h2{font-size:1.1rem;margin:2.2rem 0 .6rem}
a{color:var(--accent)}p.lead{margin:.2rem 0 1.6rem;opacity:.8}
code,pre{font:13.5px/1.5 ui-monospace,monospace}
pre{background:var(--soft);border:1px solid var(--line);border-radius:8px;padding:.8rem 1rem;overflow:auto}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.35rem .8rem .35rem 0;
border-bottom:1px solid var(--line);vertical-align:top}
.m{display:inline-block;min-width:3.2rem;font-weight:600;color:var(--accent)}
"""


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{_STYLE}</style></head><body>{body}</body></html>"
    )


_HOST = re.compile(r"[A-Za-z0-9.-]{1,200}(:\d{1,5})?|\[[0-9a-f:]{2,40}\](:\d{1,5})?")


def _curl(host: str, path: str, example: dict[str, Any]) -> str:
    host = host if _HOST.fullmatch(host) else "HOST:PORT"
    text = json.dumps(example, indent=1, ensure_ascii=False)
    command = f"curl -s http://{host}{path} \\\n  -H 'Content-Type: application/json' \\\n  -d '{text}'"
    return f"<pre><code>{escape(command)}</code></pre>"


def landing(name: str, version: str, host: str) -> str:
    """What this is, and where to go. `host`: where the reader has found it."""
    links = (
        ("/docs", "every route, with an example"),
        ("/metrics", "Prometheus metrics"),
        (f"/v2/models/{name}", "inputs and outputs of the model"),
        ("/v2/health/ready", "whether prices are answered"),
        ("/openapi.json", "the same description for programs"),
    )
    rows = "".join(
        f'<tr><td><a href="{escape(p)}">{escape(p)}</a></td><td>{escape(t)}</td></tr>' for p, t in links
    )
    path = f"/v1/models/{name}:predict"
    return _page(
        "graildient",
        f"<h1>graildient</h1><p class=lead>{escape(DESCRIPTION)}</p>"
        f"<p>Model <code>{escape(name)}</code>, version <code>{escape(version)}</code>, over REST "
        "(KServe V1, Open Inference Protocol V2) and gRPC (V2).</p>"
        f"<h2>Ask for a price</h2>{_curl(host, path, {'instances': [EXAMPLE]})}"
        f"<h2>Open</h2><table>{rows}</table>",
    )


def docs(openapi: dict[str, Any], name: str, host: str) -> str:
    """Every route of the OpenAPI description."""
    parts = [
        "<h1>Routes</h1>",
        f'<p class=lead><a href="/">graildient</a> · model <code>{escape(name)}</code></p>',
    ]
    for path, methods in openapi["paths"].items():
        shown = path.replace("{model_name}", name)
        for method, route in methods.items():
            text = route.get("description") or route.get("summary", "")
            parts.append(
                f"<h2><span class=m>{escape(method.upper())}</span> <code>{escape(shown)}</code></h2>"
                f"<p>{escape(text)}</p>"
            )
            content = route.get("requestBody", {}).get("content", {}).get("application/json")
            if content:
                parts.append(_curl(host, shown, content["example"]))
    listing = Listing.model_json_schema()["properties"]
    rows = "".join(
        f"<tr><td><code>{escape(spec.name)}</code></td><td>{escape(spec.datatype)}</td>"
        f"<td>{escape(listing[spec.name].get('description', ''))}</td></tr>"
        for spec in INPUTS
    )
    parts.append(f"<h2>Fields of a listing</h2><table><tr><th>field<th>V2 datatype<th></tr>{rows}</table>")
    parts.append(
        "<p>Only <code>title</code> is needed. Errors are JSON: <code>error</code>, <code>code</code>, and "
        "<code>details</code>, which name the field and the reason.</p>"
    )
    return _page("graildient: routes", "".join(parts))
