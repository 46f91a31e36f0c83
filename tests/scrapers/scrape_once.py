"""One scraping run for the tests: root, file for the report, and `flush`, `since` and `until` as JSON."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

from graildient.errors import GraildientError
from graildient.settings import ScraperSettings, load
from graildient.storage import Storage
from scrapers import session
from scrapers.run import scrape


def main() -> int:
    root, out, options = sys.argv[1:]
    wanted = json.loads(options)
    # Small batches, so that a run can be stopped between two of them.
    session.FLUSH = wanted.pop("flush", session.FLUSH)
    given = {name: datetime.fromisoformat(value) for name, value in wanted.items()}
    try:
        report = scrape(load(ScraperSettings), Storage(root), **given)
    except GraildientError as error:
        Path(out).write_text(json.dumps(error.to_json() | {"exit_code": 2}))
        return 2
    Path(out).write_text(json.dumps(report.to_json()))
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
