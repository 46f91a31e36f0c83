"""The pipeline: four steps, each a pod or two on a cluster, so few and big.

Validation and features are stages of the training set's step; the gate and the registry of the release's.

Kubeflow's own cache is off. It knows a step by its parameters, and would skip one whose files were
removed or whose registry has moved on; the steps' own cache looks at contents (`step_cache`).
A decision is made inside of a step: `dsl.If` is silently wrong in KFP's local runner.
(No `from __future__ import annotations` here: KFP looks at the annotations themselves.)
"""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from pipelines import components
from pipelines.cluster import ClusterSettings

NAME = "graildient"
STEPS = ("training-set", "search", "train", "release")
"""Names of the tasks, in order."""

Size = tuple[str, str, str, str]
"""CPU and memory asked for, CPU and memory at most."""

SIZES: dict[str, Size] = {
    "training_set": ("500m", "1Gi", "2", "4Gi"),
    "search": ("2", "2Gi", "4", "8Gi"),
    "train": ("1", "1Gi", "4", "8Gi"),
    "release": ("250m", "512Mi", "1", "2Gi"),
}


def make_pipeline(cluster: ClusterSettings) -> Any:
    """The pipeline as a KFP graph component. `cluster` names the image and the Secret of the steps."""

    def task(function: Callable[..., str], **inputs: Any) -> Any:
        make = dsl.component(base_image=cluster.image, packages_to_install=[], install_kfp_package=False)
        made = make(function)(**inputs)
        cpu, memory, cpu_limit, memory_limit = SIZES[function.__name__]
        made.set_caching_options(enable_caching=False)
        made.set_cpu_request(cpu).set_memory_request(memory)
        made.set_cpu_limit(cpu_limit).set_memory_limit(memory_limit)
        made.set_retry(num_retries=cluster.retries, backoff_duration="30s", backoff_factor=2.0)
        return cluster.equip(made)

    @dsl.pipeline(
        name=NAME, description="Training set, search, training, gate and release of the price model."
    )
    def graildient(settings: str = "{}", root: str = "", cache: bool = True) -> str:
        # `settings`: JSON of pipelines.config; what it leaves out comes from the steps' environment.
        # `root`: a folder or s3://bucket/prefix, in place of that of the settings.
        # `cache`: false does every step anew, whatever was done before.
        given = {"settings": settings, "root": root, "cache": cache}
        run_id: Any = task(components.training_set, **given).outputs["Output"]
        for step in (components.search, components.train, components.release):
            run_id = task(step, **given, run_id=run_id).outputs["Output"]
        return run_id  # type: ignore[no-any-return]

    return graildient
