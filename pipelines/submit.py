"""Hand the compiled pipeline to a Kubeflow Pipelines backend."""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from graildient.errors import Detail, GraildientError, InvalidSettings
from graildient.settings import FeatureSettings, PipelineSettings, StorageSettings, TrainingSettings, load
from pipelines.cluster import ClusterSettings
from pipelines.compile import compile_pipeline
from pipelines.config import RunConfig, override
from pipelines.pipeline import NAME

ENDED = {"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED", "ERROR"}
POLL_SECONDS = 5.0


def submit(
    settings: PipelineSettings,
    *,
    wait: bool = False,
    overrides: Mapping[str, str] | None = None,
    cache: bool = True,
) -> dict[str, Any]:
    """Start a run of the compiled pipeline, with the settings of this process' environment.

    `cache`: whether steps that were done before on the same inputs are left out.

    Returns `run_id` (Kubeflow's), `url`, `experiment` and `state`; waited for, the state is SUCCEEDED.

    Raises:
        InvalidSettings: no host is set, the root cannot be seen from a pod, or an override is wrong.
        GraildientError: the host does not answer or refuses, or the run that was waited for failed.
    """
    cluster = find_cluster(settings)
    arguments = run_arguments(cluster, overrides, cache)
    with open_client(cluster) as client, compiled_package(cluster) as package:
        run = client.create_run_from_pipeline_package(
            package,
            arguments=arguments,
            experiment_name=cluster.experiment,
            run_name=f"{NAME} {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())}",
        )
        found = {
            "run_id": run.run_id,
            "url": f"{cluster.host.rstrip('/')}/#/runs/details/{run.run_id}",
            "experiment": cluster.experiment,
            "state": run.run_info.state or "PENDING",
        }
        return found | {"state": _wait(client, run.run_id, cluster)} if wait else found


def find_cluster(settings: PipelineSettings) -> ClusterSettings:
    """Raises InvalidSettings when no host is set."""
    cluster = load(ClusterSettings, **settings.model_dump(exclude_unset=True))
    if not cluster.host:
        raise InvalidSettings(
            "no Kubeflow Pipelines host",
            hint="set GRAILDIENT_PIPELINE_HOST or --host, for example http://127.0.0.1:8888",
            details=[Detail("host", "empty")],
        )
    return cluster


def run_arguments(
    cluster: ClusterSettings, overrides: Mapping[str, str] | None, cache: bool
) -> dict[str, Any]:
    """Of the compiled pipeline.

    Raises:
        InvalidSettings: the root cannot be seen from a pod, or an override is wrong.
    """
    storage = load(StorageSettings, **({"root": cluster.root} if cluster.root else {}))
    training = override(load(TrainingSettings), overrides or {})
    if "://" not in storage.root and not cluster.root:
        raise InvalidSettings(
            f"no pod of the cluster can see the folder {storage.root}",
            hint="set GRAILDIENT_ROOT to s3://bucket/prefix, or GRAILDIENT_PIPELINE_ROOT to a folder "
            "of the volume that GRAILDIENT_PIPELINE_VOLUME_CLAIM names",
            details=[Detail("root", "a folder of this machine")],
        )
    config = RunConfig(storage, load(FeatureSettings), training)
    return {"settings": config.to_json(), "root": storage.root, "cache": cache}


def _wait(client: Any, run_id: str, cluster: ClusterSettings) -> str:
    until = time.monotonic() + cluster.timeout_seconds
    while True:
        run = client.get_run(run_id)
        state = str(run.state or "")
        if state in ENDED:
            break
        if time.monotonic() > until:
            raise GraildientError(
                f"run {run_id} is {state or 'PENDING'} after {cluster.timeout_seconds} s; it goes on",
                hint="set GRAILDIENT_PIPELINE_TIMEOUT_SECONDS to wait longer",
            )
        time.sleep(POLL_SECONDS)
    if state != "SUCCEEDED":
        tasks = getattr(run.run_details, "task_details", None) or []
        failed = sorted(
            {str(t.display_name) for t in tasks if t.state in ("FAILED", "ERROR")} - {run.display_name}
        )
        raise GraildientError(
            f"run {run_id} ended {state}" + (f" in {', '.join(failed)}" if failed else ""),
            hint="the log of the step says why; its last line begins with: step",
        )
    return state


@contextmanager
def compiled_package(cluster: ClusterSettings) -> Iterator[str]:
    """The path of the pipeline's YAML."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{NAME}.yaml")
        compile_pipeline(path, cluster)
        yield str(path)


@contextmanager
def open_client(cluster: ClusterSettings) -> Iterator[Any]:
    """KFP's client, without its talk; whatever goes wrong between it and the host becomes one sentence."""
    import kfp
    import kfp_server_api  # type: ignore[import-untyped]
    import urllib3

    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield kfp.Client(host=cluster.host)
    except kfp_server_api.ApiException as error:
        raise GraildientError(
            f"{cluster.host} refused: {error.status} {error.reason}",
            hint="is it the API of Kubeflow Pipelines 2, and is this user allowed to use it?",
        ) from error
    except (urllib3.exceptions.HTTPError, TimeoutError, OSError) as error:
        cause = getattr(error, "reason", None) or error
        raise GraildientError(
            f"no Kubeflow Pipelines at {cluster.host}: {cause}",
            hint="is the address right? kubectl port-forward svc/ml-pipeline 8888:8888 makes "
            "http://127.0.0.1:8888",
        ) from error
    finally:
        logging.disable(before)
