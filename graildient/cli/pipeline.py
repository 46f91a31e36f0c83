"""`graildient pipeline …` and `graildient train`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from graildient.cli.common import Set, example, open_stores, overrides, print_json
from graildient.console import err_console

app = typer.Typer(no_args_is_help=True, help="The Kubeflow pipeline: run it here, compile it, submit it.")


def train(settings: Set = None) -> None:
    """Training set, search, training, gate and registry in this process, without Kubeflow."""
    from graildient.progress import bar
    from graildient.settings import TrainingSettings, load
    from pipelines.run import run_in_process

    storage, feature_settings = open_stores()
    with bar("train") as show:
        result = run_in_process(
            storage, feature_settings, load(TrainingSettings), overrides(settings), report=show
        )
    _print_run(result)


@app.command("run", epilog=example("graildient pipeline run", "graildient pipeline run --set trials=4"))
def pipeline_run(settings: Set = None) -> None:
    """Run the compiled pipeline on this machine."""
    from graildient.progress import bar
    from graildient.settings import TrainingSettings, load
    from pipelines.run import run_pipeline

    storage, feature_settings = open_stores()
    with bar("pipeline") as show:
        result = run_pipeline(
            storage, feature_settings, load(TrainingSettings), overrides(settings), report=show
        )
    _print_run(result)


def _print_run(result: Any) -> None:
    verdict = "champion" if result.promoted else "registered, not promoted"
    err_console().print(f"run {result.run_id}: model {result.version}: {verdict}", highlight=False)
    for reason in result.verdict.get("reasons", ()):
        err_console().print(f"  {reason}", highlight=False)
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
    host: Annotated[
        str, typer.Option(help="Kubeflow Pipelines API. Default: GRAILDIENT_PIPELINE_HOST.")
    ] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Return when the run has ended.")] = False,
    settings: Set = None,
) -> None:
    """Submit the compiled pipeline to a Kubeflow Pipelines backend."""
    from graildient.settings import PipelineSettings, load
    from pipelines.submit import submit

    pipeline = load(PipelineSettings, **({"host": host} if host else {}))
    print_json(submit(pipeline, wait=wait, overrides=overrides(settings)))
