"""The command line. Every command imports its room when it runs, because those imports take seconds."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from graildient import __version__
from graildient.cli import features as features_group
from graildient.cli import models as models_group
from graildient.cli import pipeline as pipeline_group
from graildient.cli.common import Set, date, example, open_stores, overrides, print_json, seconds, show_error
from graildient.console import err_console, out_console
from graildient.errors import GraildientError, InvalidListing, InvalidSettings

app = typer.Typer(
    name="graildient",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="What will this second-hand fashion listing sell for?\n\nStart with [bold]graildient up[/bold].",
)


@app.command(
    epilog=example(
        "graildient up",
        "graildient up --listings sold.csv.gz",
        "graildient up --demo -n 2000",
        "graildient up --every 6h",
    )
)
def up(
    listings: Annotated[
        Path | None,
        typer.Option(help="csv, csv.gz, jsonl or parquet of sold listings. Default: synthetic ones."),
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=300, help="How many synthetic listings.")] = 5000,
    seed: Annotated[int, typer.Option(help="Seed of the synthetic listings.")] = 7,
    demo: Annotated[
        bool, typer.Option("--demo", help="Stop with exit code 0 once the price was served.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do every stage again.")] = False,
    every: Annotated[
        str, typer.Option(help="Scrape, train and release again after this time: 30m, 6h, 1d.")
    ] = "",
    http_port: Annotated[int, typer.Option(help="Port of the REST server.")] = 8080,
    grpc_port: Annotated[int, typer.Option(help="Port of the gRPC server.")] = 8081,
    marketplace_port: Annotated[int, typer.Option(help="Port of the stand-in marketplace.")] = 8100,
    settings: Set = None,
) -> None:
    """Run the whole stack on this machine: scrape, features, search, train, serve, and a first price."""
    from graildient.local.up import UpOptions
    from graildient.local.up import up as run_up
    from graildient.local.workspace import from_file, synthetic

    overrides(settings)
    if every and demo:
        raise InvalidSettings("--demo ends after the first price; --every never does: take one of them")
    source = from_file(listings) if listings else synthetic(count, seed)
    options = UpOptions(
        source,
        demo,
        fresh,
        http_port,
        grpc_port,
        marketplace_port,
        tuple(settings or ()),
        every=seconds(every, "--every") if every else None,
    )
    run_up(options, out_console())


@app.command(epilog=example("graildient scrape", "graildient scrape --since 2026-03-01 --until 2026-04-01"))
def scrape(
    since: Annotated[
        str | None, typer.Option(help="First day of sale. Default: the newest sale in the lake.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="First day no more wanted. Default: now.")] = None,
) -> None:
    """Sweep sold listings from the marketplace into the lake (settings: GRAILDIENT_SCRAPER_*)."""
    from graildient.progress import bar
    from graildient.settings import ScraperSettings, load
    from scrapers.run import scrape as run_scrape

    storage, _ = open_stores()
    with bar("scrape") as show:
        report = run_scrape(
            load(ScraperSettings),
            storage,
            since=date(since, "--since"),
            until=date(until, "--until"),
            report=show,
        )
    bad = ", ".join(f"{n} {cause}" for cause, n in sorted(report.quarantined.items())) or "none"
    err_console().print(
        f"{report.listings:,} new listings, {report.duplicates:,} known, quarantined: {bad}; "
        f"{report.requests} requests, {report.retries} retries, {report.seconds:.1f} s",
        highlight=False,
    )
    raise typer.Exit(report.exit_code)


@app.command(epilog=example("graildient marketplace --synthetic 5000 --port 8100"))
def marketplace(
    listings: Annotated[Path | None, typer.Option(help="Catalogue: a file of listings.")] = None,
    synthetic: Annotated[int, typer.Option(min=1, help="Catalogue: this many synthetic listings.")] = 5000,
    seed: Annotated[int, typer.Option(help="Seed of the synthetic catalogue.")] = 7,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8100,
    ready_file: Annotated[Path | None, typer.Option(help="Written as JSON once it listens.")] = None,
) -> None:
    """Serve the stand-in marketplace, for trying and for tests (faults: GRAILDIENT_MARKETPLACE_*)."""
    from graildient.settings import load
    from scrapers.marketplace.server import serve as serve_marketplace
    from scrapers.marketplace.settings import MarketplaceSettings

    serve_marketplace(
        load(MarketplaceSettings),
        listings=listings,
        count=synthetic,
        seed=seed,
        host=host,
        port=port,
        ready_file=ready_file,
        started=lambda url: err_console().print(f"stand-in marketplace at {url}", highlight=False),
    )


@app.command(epilog=example("graildient serve", "graildient serve --model challenger --http-port 9000"))
def serve(
    model: Annotated[str | None, typer.Option(help="Alias or version. Default: champion.")] = None,
    http_port: Annotated[int | None, typer.Option(help="Port of REST; 0 takes a free one.")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="Port of gRPC; 0 takes a free one.")] = None,
    ready_file: Annotated[Path | None, typer.Option(help="Written as JSON once prices are answered.")] = None,
) -> None:
    """Serve prices over REST (V1, V2) and gRPC (V2), with /metrics."""
    from graildient.settings import FeatureSettings, ServingSettings, StorageSettings, load
    from serving.server import serve as run_server

    given = {"model": model, "http_port": http_port, "grpc_port": grpc_port}
    serving = load(ServingSettings, **{k: v for k, v in given.items() if v is not None})
    run_server(load(StorageSettings), load(FeatureSettings), serving, ready_file)


@app.command(
    epilog=example(
        'graildient predict --title "Geobasket sneakers" --designers "Rick Owens" --condition used --size 43',
        "graildient predict --json listing.json --url http://127.0.0.1:8080",
    )
)
def predict(
    title: Annotated[str | None, typer.Option(help="Item name.")] = None,
    designers: Annotated[str | None, typer.Option(help='One or several: "Kappa × Vintage".')] = None,
    department: Annotated[str | None, typer.Option(help="menswear or womenswear.")] = None,
    category: Annotated[str | None, typer.Option(help="tops, or tops.short_sleeve_shirts.")] = None,
    size: Annotated[str | None, typer.Option()] = None,
    color: Annotated[str | None, typer.Option()] = None,
    condition: Annotated[str | None, typer.Option(help="new, gently_used, used or worn.")] = None,
    photos: Annotated[int | None, typer.Option(help="Number of photos.")] = None,
    hashtags: Annotated[str | None, typer.Option(help='"#archive #2003".')] = None,
    description: Annotated[str | None, typer.Option()] = None,
    json_file: Annotated[
        str | None, typer.Option("--json", help="The listing as a JSON file; - for stdin.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Ask this running server instead of the registry's champion.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--output-json", help="Print the answer as JSON.")] = False,
) -> None:
    """Price one listing, with its range and its reasons."""
    from graildient.local.answers import predict_here, predict_remote, read_json_listing, show_price

    given = {
        "title": title,
        "designers": designers,
        "department": department,
        "category": category,
        "size": size,
        "color": color,
        "condition": condition,
        "photo_count": photos,
        "hashtags": hashtags,
        "description": description,
    }
    listing = read_json_listing(json_file) if json_file else {}
    listing |= {k: v for k, v in given.items() if v is not None}
    answer = predict_remote(url, listing) if url else predict_here(*open_stores(), listing)
    print_json(answer) if as_json else show_price(listing, answer, out_console())


@app.command(epilog=example("graildient score listings.csv", "graildient score new.jsonl -o priced.parquet"))
def score(
    file: Annotated[Path, typer.Argument(help="csv, csv.gz, jsonl or parquet of listings.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="csv, jsonl or parquet.")] = None,
) -> None:
    """Price every listing of a file; bad rows keep their place, with the reason."""
    from graildient.progress import bar
    from graildient.settings import ServingSettings, load
    from serving.bulk import score_file

    target = output or file.with_name(file.name.split(".")[0] + ".prices.csv")
    storage, feature_settings = open_stores()
    with bar("score") as show:
        done = score_file(file, target, storage, feature_settings, load(ServingSettings), report=show)
    err_console().print(
        f"{done.rows - done.refused:,} prices, {done.refused:,} refused rows: {target}, {done.seconds:.1f} s",
        highlight=False,
    )


@app.command(
    epilog=example("graildient evaluate", "graildient evaluate sold.csv.gz --slices --json figures.json")
)
def evaluate(
    file: Annotated[
        Path | None, typer.Argument(help="Sold listings. Default: the champion's held-out figures.")
    ] = None,
    model: Annotated[str, typer.Option(help="Alias or version.")] = "champion",
    slices: Annotated[
        bool, typer.Option("--slices", help="By price band, category, designer and condition too.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures as JSON too.")] = None,
) -> None:
    """Error figures of a model: on its own untouched newest listings, or on a file of sold ones.

    Listings that the model was trained on are left out and counted; the file's prices never become features.
    """
    from graildient.local.answers import evaluate_champion, evaluate_on, show_figures, show_slices

    storage, feature_settings = open_stores()
    figures = (
        evaluate_on(file, storage, feature_settings, model) if file else evaluate_champion(storage, model)
    )
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2, default=str) + "\n", encoding="utf-8")
    show_figures(figures, out_console())
    if slices:
        show_slices(figures, out_console())


@app.command(epilog=example("graildient doctor"))
def doctor() -> None:
    """What is missing on this machine, and the command that mends it."""
    from graildient.local.doctor import examine

    raise typer.Exit(examine(out_console()))


def _version(value: bool) -> None:
    if value:
        sys.stdout.write(f"graildient {__version__}\n")
        raise typer.Exit


app.command(
    "train", epilog=example("graildient train", "graildient train --set trials=16 --set max_iterations=800")
)(pipeline_group.train)
app.add_typer(features_group.app, name="features")
app.add_typer(pipeline_group.app, name="pipeline")
app.add_typer(models_group.app, name="models")


@app.callback()
def _global(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the `graildient` program."""
    # As process 1 of a container, Python would not hear SIGTERM at all without a handler.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if "GRAILDIENT_SUPERVISOR_PID" in os.environ:
        from graildient.local.supervisor import die_with_parent

        die_with_parent()
    from graildient.local.workspace import enter_current

    enter_current()
    try:
        app()
    except GraildientError as error:
        show_error(error)
        sys.exit(2 if isinstance(error, InvalidListing | InvalidSettings) else 1)
    except Exception as error:
        if os.environ.get("GRAILDIENT_DEBUG"):
            raise
        show_error(
            GraildientError(
                f"unexpected: {type(error).__name__}: {error}", hint="GRAILDIENT_DEBUG=1 shows where"
            )
        )
        sys.exit(1)
    except KeyboardInterrupt:
        err_console().print("stopped", highlight=False)
        sys.exit(130)
