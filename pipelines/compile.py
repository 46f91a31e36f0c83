"""Compile the pipeline to the YAML that a Kubeflow backend takes."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

from graildient.settings import PipelineSettings, load
from graildient.storage import Storage
from pipelines.cluster import ClusterSettings


def compile_pipeline(path: Path, settings: PipelineSettings | None = None) -> None:
    """Write the pipeline's YAML, the same bytes for the same code and settings.

    Args:
        settings: image and environment of the steps; default: this process' environment.

    Raises:
        StorageError: the file cannot be written.
    """
    cluster = load(ClusterSettings, **(settings.model_dump(exclude_unset=True) if settings else {}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kfp import compiler

        from pipelines.pipeline import make_pipeline

        # KFP decides the format by the name's ending.
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder, "pipeline.yaml")
            compiler.Compiler().compile(make_pipeline(cluster), str(made))
            content = made.read_bytes()
    Storage(str(path.parent)).write_bytes(path.name, content)
