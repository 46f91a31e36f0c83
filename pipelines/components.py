"""The steps as Kubeflow sees them: each calls the step of the same name and shows what came out.

KFP copies the source of these functions into the compiled pipeline, so each imports what it uses,
and everything that could be wrong lies in `pipelines.entry`, which the image brings along.
(No `from __future__ import annotations` here: KFP looks at the annotations themselves.)
"""

from kfp import dsl


def training_set(
    settings: str,
    root: str,
    cache: bool,
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
) -> str:
    """Look at the lake, build features and training set. Returns the run's id, which names its folder."""
    from pipelines.entry import enter

    return enter("training_set", settings, root, cache=cache, metrics=metrics, summary=summary)


def search(
    settings: str,
    root: str,
    run_id: str,
    cache: bool,
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
) -> str:
    """Search for parameters with Ray Tune."""
    from pipelines.entry import enter

    return enter("search", settings, root, run_id, cache, metrics=metrics, summary=summary)


def train(
    settings: str,
    root: str,
    run_id: str,
    cache: bool,
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
) -> str:
    """Train the model and evaluate it on the newest listings."""
    from pipelines.entry import enter

    return enter("train", settings, root, run_id, cache, metrics=metrics, report=report)


def release(
    settings: str,
    root: str,
    run_id: str,
    cache: bool,
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
) -> str:
    """Ask the gate, register the model, and move the alias."""
    from pipelines.entry import enter

    return enter("release", settings, root, run_id, cache, metrics=metrics, report=report)
