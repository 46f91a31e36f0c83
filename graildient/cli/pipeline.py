"""`graildient pipeline …` and `graildient train`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from graildient.cli.common import Set, example, open_stores, overrides, print_json, seconds
from graildient.console import err_console

NoCache = Annotated[bool, typer.Option("--no-cache", help="Do every step anew, whatever was done before.")]
Host = Annotated[str, typer.Option(help="Kubeflow Pipelines API. Default: GRAILDIENT_PIPELINE_HOST.")]

app = typer.Typer(no_args_is_help=True, help="The Kubeflow pipeline: run it here, compile it, submit it.")


def train(settings: Set = None, no_cache: NoCache = False) -> None:
    """Training set, search, training, gate and registry in this process, without Kubeflow."""
    from graildient.progress import bar
    from graildient.settings import TrainingSettings, load
    from pipelines.run import run_in_process

    storage, feature_settings = open_stores()
    with bar("train") as show:
        result = run_in_process(
            storage,
            feature_settings,
            load(TrainingSettings),
            overrides(settings),
            report=show,
            cache=not no_cache,
        )
    _print_run(result)


@app.command("run", epilog=example("graildient pipeline run", "graildient pipeline run --set trials=4"))
def pipeline_run(settings: Set = None, no_cache: NoCache = False) -> None:
    """Run the compiled pipeline on this machine."""
    from graildient.progress import bar
    from graildient.settings import TrainingSettings, load
    from pipelines.run import run_pipeline

    storage, feature_settings = open_stores()
    with bar("pipeline") as show:
        result = run_pipeline(
            storage,
            feature_settings,
            load(TrainingSettings),
            overrides(settings),
            report=show,
            cache=not no_cache,
        )
    _print_run(result)


STEPS = ("training_set", "search", "train", "release")


def _print_run(result: Any) -> None:
    verdict = "champion" if result.promoted else "registered, not promoted"
    err_console().print(f"run {result.run_id}: model {result.version}: {verdict}", highlight=False)
    for reason in result.verdict.get("reasons", ()):
        err_console().print(f"  {reason}", highlight=False)
    for name, step in sorted(result.steps.items(), key=lambda item: STEPS.index(item[0])):
        took = "   reused" if step["reused"] else f"{step['seconds']:7.1f} s"
        err_console().print(
            f"  {name:<13}{took}  {step['reason']}", highlight=False, markup=False, soft_wrap=True
        )
    print_json(
        {"run_id": result.run_id, "version": result.version, "promoted": result.promoted} | result.metrics
    )


@app.command("compile", epilog=example("graildient pipeline compile -o pipeline.yaml"))
def pipeline_compile(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the YAML goes.")] = Path(
        "pipeline.yaml"
    ),
) -> None:
    """Compile the pipeline to the YAML that a Kubeflow backend takes."""
    from pipelines.compile import compile_pipeline

    compile_pipeline(output)
    err_console().print(f"wrote {output}", highlight=False)


@app.command("submit", epilog=example("graildient pipeline submit --host http://127.0.0.1:8888 --wait"))
def pipeline_submit(
    host: Host = "",
    wait: Annotated[bool, typer.Option("--wait", help="Return when the run has ended.")] = False,
    settings: Set = None,
    no_cache: NoCache = False,
) -> None:
    """Submit the compiled pipeline to a Kubeflow Pipelines backend."""
    from pipelines.submit import submit

    print_json(submit(_backend(host), wait=wait, overrides=overrides(settings), cache=not no_cache))


@app.command(
    "schedule",
    epilog=example(
        "graildient pipeline schedule --every 6h --host http://127.0.0.1:8888",
        'graildient pipeline schedule --cron "0 0 3 * * *"',
        "graildient pipeline schedule --list",
    ),
)
def pipeline_schedule(
    cron: Annotated[str, typer.Option(help="Six fields, seconds first; times are the backend's.")] = "",
    every: Annotated[str, typer.Option(help="Time from start to start: 30m, 6h, 1d.")] = "",
    show: Annotated[bool, typer.Option("--list", help="Print the schedules of the experiment.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the schedules of the experiment.")] = False,
    host: Host = "",
    settings: Set = None,
    no_cache: NoCache = False,
) -> None:
    """Run the pipeline again and again on a Kubeflow Pipelines backend; replaces an earlier schedule."""
    from graildient.errors import InvalidSettings
    from pipelines import schedule as module

    if sum((bool(cron), bool(every), show, remove)) != 1:
        raise InvalidSettings("one of --cron, --every, --list and --remove is wanted")
    backend = _backend(host)
    if show:
        print_json(module.schedules(backend))
    elif remove:
        print_json({"removed": module.unschedule(backend)})
    else:
        period = seconds(every, "--every") if every else 0
        given = overrides(settings)
        print_json(module.schedule(backend, cron=cron, every=period, overrides=given, cache=not no_cache))


def _backend(host: str) -> Any:
    from graildient.settings import PipelineSettings, load

    return load(PipelineSettings, **({"host": host} if host else {}))
