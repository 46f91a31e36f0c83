"""`graildient features …`"""

from __future__ import annotations

import typer

from graildient.cli.common import example, open_stores, print_json
from graildient.console import err_console

app = typer.Typer(no_args_is_help=True, help="The feature store: build, materialise, look at it.")


@app.command("build", epilog=example("graildient features build"))
def features_build() -> None:
    """Compute market aggregates as of each day from the lake, and apply the Feast definitions."""
    from feature_repo.build import build_features
    from graildient.progress import bar

    storage, settings = open_stores()
    with bar("features") as show:
        built = build_features(storage, settings, report=show)
    rows = ", ".join(f"{view} {n:,}" for view, n in built.rows.items())
    state = "unchanged" if built.reused else "built"
    err_console().print(f"{state}: {built.sales:,} sales as of {built.as_of}; rows: {rows}", highlight=False)


@app.command("materialize", epilog=example("graildient features materialize"))
def features_materialize() -> None:
    """Write the newest row of each entity into the online store."""
    from feature_repo.materialise import materialise
    from graildient.progress import bar

    storage, settings = open_stores()
    with bar("materialize") as show:
        done = materialise(storage, settings, report=show)
    rows = ", ".join(f"{view} {n:,}" for view, n in done.rows.items())
    state = "unchanged" if done.reused else "written"
    err_console().print(f"{state}: {rows}; as of {done.as_of}", highlight=False)


@app.command("refresh", epilog=example("graildient features refresh"))
def features_refresh() -> None:
    """Build, then materialize, in one process."""
    features_build()
    features_materialize()


@app.command("status", epilog=example("graildient features status"))
def features_status() -> None:
    """Print what the feature store holds and how fresh it is, as JSON."""
    from feature_repo.status import status

    print_json(status(*open_stores()))


@app.command("docs", epilog=example("graildient features docs > docs/features.md"))
def features_docs() -> None:
    """Print the page that describes every feature (docs/features.md)."""
    from feature_repo.page import page

    typer.echo(page(), nl=False)
