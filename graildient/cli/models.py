"""`graildient models …`"""

from __future__ import annotations

from typing import Annotated

import typer

from graildient.cli.common import example, open_stores, print_json
from graildient.console import err_console, out_console

app = typer.Typer(no_args_is_help=True, help="The model registry: list, show, promote, verify.")


@app.command("list", epilog=example("graildient models list"))
def models_list() -> None:
    """All versions with their held-out error and aliases."""
    from graildient.local.answers import list_models

    list_models(open_stores()[0], out_console())


@app.command("show", epilog=example("graildient models show champion", "graildient models show --report"))
def models_show(
    ref: Annotated[str, typer.Argument(help="Alias or version.")] = "champion",
    report: Annotated[
        bool, typer.Option("--report", help="Print where the report of its run lies (HTML).")
    ] = False,
) -> None:
    """A model's manifest and the gate's verdict, as JSON."""
    from graildient.local.answers import report_of
    from graildient.pricing.registry import Registry

    storage = open_stores()[0]
    registry = Registry(storage)
    version = registry.resolve(ref)
    if report:
        typer.echo(report_of(storage, version))
        return
    print_json(registry.manifest(version).model_dump(mode="json") | {"notes": registry.notes(version)})


@app.command(
    "promote", epilog=example("graildient models promote 20210226-0123456789 --reason 'tried by hand'")
)
def models_promote(
    ref: Annotated[str, typer.Argument(help="Alias or version to promote.")],
    alias: Annotated[str, typer.Option(help="Which alias moves.")] = "champion",
    reason: Annotated[str, typer.Option(help="Kept in the alias's history.")] = "by hand",
) -> None:
    """Move an alias to a version, atomically; running servers follow."""
    from graildient.pricing.registry import Registry

    registry = Registry(open_stores()[0])
    version = registry.resolve(ref)
    registry.set_alias(alias, version, reason=reason)
    err_console().print(f"{alias} is now {version}", highlight=False)


@app.command("verify", epilog=example("graildient models verify", "graildient models verify champion"))
def models_verify(
    ref: Annotated[str | None, typer.Argument(help="Alias or version. Default: all.")] = None,
) -> None:
    """Check every file of a model against its manifest."""
    from graildient.pricing.registry import Registry

    registry = Registry(open_stores()[0])
    for version in [registry.resolve(ref)] if ref else registry.versions():
        registry.fetch(version)
        err_console().print(f"[green]✔[/green] {version}", highlight=False)
