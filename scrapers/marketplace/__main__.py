"""`python -m scrapers.marketplace --synthetic 5000`: the stand-in on its own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from graildient.errors import GraildientError
from graildient.settings import load
from scrapers.marketplace.server import DEFAULT_COUNT, serve
from scrapers.marketplace.settings import MarketplaceSettings


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 after SIGTERM or Ctrl-C, 2 for a file, host or setting that does not work."""
    parser = argparse.ArgumentParser(
        prog="python -m scrapers.marketplace",
        description="A local stand-in for the marketplace. Faults and access: GRAILDIENT_MARKETPLACE_…",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--listings", type=Path, metavar="FILE", help="csv, csv.gz, jsonl, jsonl.gz or parquet"
    )
    source.add_argument(
        "--synthetic", type=int, metavar="N", default=DEFAULT_COUNT, help="generated listings"
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--ready-file", type=Path, help="gets the address as JSON once the server listens")
    given = parser.parse_args(arguments)
    if given.synthetic < 0:
        parser.error("--synthetic: must not be negative")
    try:
        serve(
            load(MarketplaceSettings),
            listings=given.listings,
            count=given.synthetic,
            seed=given.seed,
            host=given.host,
            port=given.port,
            ready_file=given.ready_file,
            started=lambda url: print(f"stand-in marketplace at {url}", file=sys.stderr),
        )
    except GraildientError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
