"""Hand the compiled pipeline to a Kubeflow Pipelines backend, once or by a schedule."""

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
    settings: PipelineSettings, *, wait: bool = False, overrides: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Start a run of the compiled pipeline, with the settings of this process' environment.

    Returns `run_id` (Kubeflow's), `url`, `experiment` and `state`; waited for, the state is SUCCEEDED.

    Raises:
        InvalidSettings: no host is set, the root cannot be seen from a pod, or an override is wrong.
        GraildientError: the host does not answer or refuses, or the run that was waited for failed.
    """
    cluster = _cluster(settings)
    arguments = _arguments(cluster, overrides)
    with _client(cluster) as client, _compiled(cluster) as package:
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


def schedule(
    settings: PipelineSettings, cron: str, *, overrides: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run the pipeline again and again, one run at a time, without catching up on missed ones.

    Args:
        cron: six fields, seconds first, as Kubeflow has them: `0 0 3 * * *` is at three every night.

    Raises:
        InvalidSettings: no host is set, the root cannot be seen from a pod, or an override is wrong.
        GraildientError: the host does not answer or refuses.
    """
    cluster = _cluster(settings)
    arguments = _arguments(cluster, overrides)
    with _client(cluster) as client, _compiled(cluster) as package:
        experiment = client.create_experiment(cluster.experiment)
        job = client.create_recurring_run(
            experiment.experiment_id,
            job_name=NAME,
            cron_expression=cron,
            max_concurrency=1,
            no_catchup=True,
            params=arguments,
            pipeline_package_path=package,
        )
        return {"recurring_run_id": job.recurring_run_id, "experiment": cluster.experiment, "cron": cron}


def _cluster(settings: PipelineSettings) -> ClusterSettings:
    cluster = load(ClusterSettings, **settings.model_dump(exclude_unset=True))
    if not cluster.host:
        raise InvalidSettings(
            "no Kubeflow Pipelines host",
            hint="set GRAILDIENT_PIPELINE_HOST or --host, for example http://127.0.0.1:8888",
            details=[Detail("host", "empty")],
        )
    return cluster


def _arguments(cluster: ClusterSettings, overrides: Mapping[str, str] | None) -> dict[str, str]:
    storage = load(StorageSettings, **({"root": cluster.root} if cluster.root else {}))
    training = override(load(TrainingSettings), overrides or {})
    if "://" not in storage.root and not cluster.root:
        raise InvalidSettings(
            f"no pod of the cluster can see the folder {storage.root}",
            hint="set GRAILDIENT_ROOT to s3://bucket/prefix, or GRAILDIENT_PIPELINE_ROOT to a folder "
            "of the volume that GRAILDIENT_PIPELINE_VOLUME_CLAIM names",
            details=[Detail("root", "a folder of this machine")],
        )
    return {"settings": RunConfig(storage, load(FeatureSettings), training).to_json(), "root": storage.root}


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
def _compiled(cluster: ClusterSettings) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{NAME}.yaml")
        compile_pipeline(path, cluster)
        yield str(path)


@contextmanager
def _client(cluster: ClusterSettings) -> Iterator[Any]:
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
