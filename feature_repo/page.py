"""The page that describes every feature, written from the definitions: `graildient features docs`."""

from __future__ import annotations

from feature_repo.definitions import MARKET_SERVICE, SERVICE
from graildient.pricing.market import ALL_VIEWS
from graildient.settings import FeatureSettings

PAGE = "docs/features.md"

_HEAD = f"""# Features

Written by `graildient features docs` from `graildient/pricing/market.py`; do not edit.

Every feature is an aggregate of the sold listings in the lake (`lake/sold`). It is knowable at the first
midnight UTC after the sale plus the publication lag (default: {{lag:g}} h), and counts as missing when it is
older than the time-to-live (default: {{ttl}} days). The service `{SERVICE}` is what the price model looks
up; `{MARKET_SERVICE}` has everything. Share of listings that sold (sell-through) is not here: the lake has
no counts of active listings.
"""


def page() -> str:
    """The page as Markdown, for the default settings."""
    fields = FeatureSettings.model_fields
    parts = [_HEAD.format(lag=fields["publication_lag_hours"].default, ttl=fields["ttl_days"].default)]
    for view in ALL_VIEWS:
        note = "" if view.on_form else " Nobody states it when asking for a price: never in the price model."
        several = " A listing of several designers looks up each; highest and mean are used."
        parts.append(f"\n## {view.name}\n\nKey: `{view.join_key}`.{several if view.several else ''}{note}\n")
        parts.append("| feature | meaning | unit | price model |\n|---|---|---|---|")
        parts += [
            f"| `{f.name}` | {f.meaning} | {f.unit} | {'yes' if f.model else ''} |" for f in view.stored
        ]
    return "\n".join(parts) + "\n"
