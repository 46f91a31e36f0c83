"""Is the lake fit to learn from? The first stage of the training-set step.

It is no step of its own: on a Kubeflow backend a step costs two pods and some ten seconds, and this
takes less than one. What it found is `validation.json` of the run, and is shown as metrics; an empty
or absurd lake fails the step before anything is built from it, and the finding lies in `runs/failed`.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from graildient.errors import Detail, LakeRefused, NotEnoughData
from graildient.lake import SCHEMA, Lake
from graildient.listing import MAX_DESCRIPTION, MAX_PRICE, MAX_TITLE
from graildient.settings import TrainingSettings
from graildient.storage import Storage
from graildient.times import EARLIEST

REQUIRED = ("id", "title", "created_at", "sold_at", "sold_price")


@dataclass
class Validation:
    """What the lake holds.

    `rows`: with corrections, of which each listing counts the one scraped last. `absurd`: a reason to
    how many listings have it; `absurd_share`: listings with at least one. `nulls`: share of each column
    that has some. `warnings`: odd, but no reason to stop.
    """

    listings: int
    rows: int
    quarantined: int
    quarantine_share: float
    causes: dict[str, int]
    first_sale: str
    last_sale: str
    price_quantiles: dict[str, float]
    designers: int
    absurd: dict[str, int]
    absurd_share: float
    nulls: dict[str, float]
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def refuse(self, settings: TrainingSettings) -> None:
        """Raises LakeRefused when the settings say that this is too much; each detail is one reason."""
        details = []
        if self.absurd_share > settings.max_absurd_share:
            told = ", ".join(f"{count} {reason}" for reason, count in self.absurd.items())
            details.append(
                Detail(
                    "max_absurd_share",
                    f"{self.absurd_share:.1%} of {self.listings} listings cannot be true "
                    f"({told}); at most {settings.max_absurd_share:.1%} may",
                )
            )
        if self.quarantine_share > settings.max_quarantine_share:
            causes = ", ".join(f"{count} {cause}" for cause, count in self.causes.items())
            details.append(
                Detail(
                    "max_quarantine_share",
                    f"{self.quarantine_share:.1%} of what was scraped is in quarantine ({causes}); "
                    f"at most {settings.max_quarantine_share:.1%} may be",
                )
            )
        if details:
            raise LakeRefused(
                "the lake is not fit to learn from: " + "; ".join(detail.reason for detail in details),
                hint=f"mend the scraping, or raise the share: --set {details[0].field}=…",
                details=details,
            )


def validate(lake: Lake, *, now: datetime | None = None) -> Validation:
    """Look at the whole lake.

    Args:
        now: sales after it are absurd; default: the machine's clock.

    Raises:
        NotEnoughData: there is no sold listing.
        StorageError: the lake cannot be read, or its columns are of other types.
    """
    import pyarrow.compute as pc

    table = lake.read()
    if not len(table):
        raise NotEnoughData(
            "the lake holds no sold listings",
            hint=f"scrape first; it lies at {lake.storage.url('lake/sold')}",
        )
    absurd, bad = _absurd(table, (now or datetime.now(UTC)) + timedelta(days=1))
    causes = Counter(item.cause for item in lake.quarantined())
    quarantined = sum(causes.values())
    prices = pc.quantile(table["sold_price"], q=[0, 0.01, 0.5, 0.99, 1]).to_pylist()
    sold = pc.min_max(table["sold_at"]).as_py()
    found = Validation(
        listings=len(table),
        rows=lake.rows(),
        quarantined=quarantined,
        quarantine_share=quarantined / (quarantined + len(table)),
        causes=dict(causes.most_common(5)),
        first_sale=_iso(sold["min"]),
        last_sale=_iso(sold["max"]),
        price_quantiles=dict(zip(("min", "p01", "median", "p99", "max"), prices, strict=True)),
        designers=len(pc.unique(pc.list_flatten(table["designers"]))),
        absurd=absurd,
        absurd_share=bad / len(table),
        nulls={n: round(table[n].null_count / len(table), 4) for n in SCHEMA.names if table[n].null_count},
    )
    found.warnings.extend(_warnings(found, table))
    return found


def _absurd(table: Any, future: datetime) -> tuple[dict[str, int], int]:
    """Reasons with their counts, and how many listings have one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def none(name: str) -> Any:
        return pc.is_null(table[name])

    price, sold, created = table["sold_price"], table["sold_at"], table["created_at"]
    checks = {f"without {name}": none(name) for name in REQUIRED}
    checks |= {
        "at a price of 0 or less": pc.less_equal(price, 0),
        f"dearer than ${MAX_PRICE:,.0f}": pc.greater(price, MAX_PRICE),
        "at a price that is no number": pc.invert(pc.is_finite(price)),
        "sold before they were created": pc.less(sold, created),
        "sold in the future": pc.greater(sold, pa.scalar(future)),
        "sold before the marketplace opened": pc.less(sold, pa.scalar(EARLIEST)),
        "with a title that is too long": pc.greater(pc.utf8_length(table["title"]), MAX_TITLE),
        "with a description that is too long": pc.greater(
            pc.utf8_length(table["description"]), MAX_DESCRIPTION
        ),
    }
    masks = {reason: pc.fill_null(mask, False) for reason, mask in checks.items()}
    counts = {reason: int(pc.sum(mask).as_py() or 0) for reason, mask in masks.items()}
    some = None
    for mask in masks.values():
        some = mask if some is None else pc.or_(some, mask)
    return {reason: count for reason, count in counts.items() if count}, int(pc.sum(some).as_py() or 0)


def _warnings(found: Validation, table: Any) -> list[str]:
    import pyarrow.compute as pc

    told = [f"column {name} is empty" for name, share in found.nulls.items() if share == 1]
    told += [f"{count} listings {reason}" for reason, count in found.absurd.items()]
    if found.price_quantiles["min"] == found.price_quantiles["max"]:
        told.append(f"every listing sold for ${found.price_quantiles['min']:,.2f}")
    if found.designers <= 1:
        told.append("there is one designer only" if found.designers else "no listing names a designer")
    if found.rows > found.listings:
        told.append(f"{found.rows - found.listings} rows are older versions of a listing; the newest counts")
    if table["time_is_estimated"].null_count < len(table) and pc.all(table["time_is_estimated"]).as_py():
        told.append("all times are estimated from the listing ids")
    return told


def _iso(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).isoformat()


def validation_page(storage: Storage, run_id: str) -> str:
    """What the lake holds, as Markdown for the Kubeflow UI."""
    found = json.loads(storage.read_bytes(f"runs/{run_id}/validation.json"))
    lines = [f"# The lake of run {run_id}", ""]
    lines += [f"- {warning}" for warning in found["warnings"]] or ["Nothing odd."]
    lines += ["", "| figure | value |", "|---|---|"]
    for key, value in sorted(found.items()):
        if isinstance(value, dict):
            lines += [f"| {key}: {name} | {_text(figure)} |" for name, figure in value.items()]
        elif not isinstance(value, list):
            lines.append(f"| {key} | {_text(value)} |")
    return "\n".join([*lines, ""])


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")
