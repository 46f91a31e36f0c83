"""The recurring run of a Kubeflow Pipelines backend: one an experiment, of the pipeline as it is now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graildient.errors import Detail, InvalidSettings
from graildient.settings import PipelineSettings
from pipelines.pipeline import NAME
from pipelines.submit import compiled_package, find_cluster, open_client, run_arguments


def schedule(
    settings: PipelineSettings,
    *,
    cron: str = "",
    every: int = 0,
    overrides: Mapping[str, str] | None = None,
    cache: bool = True,
) -> dict[str, Any]:
    """Run the pipeline again and again, one run at a time, without catching up on missed ones.

    It takes the place of the recurring run that this experiment has; first the new one is there, then
    the old one goes.

    Args:
        cron: six fields, seconds first, as Kubeflow has them: `0 0 3 * * *` is at three every night.
        every: or the seconds from one start to the next.

    Raises:
        InvalidSettings: not one of `cron` and `every`, or it is not sound; no host is set, the root cannot
            be seen from a pod, or an override is wrong.
        GraildientError: the host does not answer or refuses.
    """
    if bool(cron) == bool(every):
        raise InvalidSettings(
            "a schedule is either --cron or --every",
            hint='for example --every 6h, or --cron "0 0 3 * * *"',
            details=[Detail("cron", "one of cron and every")],
        )
    if cron and len(cron.split()) != 6:
        raise InvalidSettings(
            f"cron: {cron!r} has {len(cron.split())} fields, Kubeflow wants six, seconds first",
            hint='at three every night is "0 0 3 * * *"',
            details=[Detail("cron", "expected six fields")],
        )
    when: dict[str, Any] = {"cron_expression": cron} if cron else {"interval_second": every}
    cluster = find_cluster(settings)
    arguments = run_arguments(cluster, overrides, cache)
    with open_client(cluster) as client, compiled_package(cluster) as package:
        experiment = client.create_experiment(cluster.experiment).experiment_id
        before = [job.recurring_run_id for job in _ours(client, experiment)]
        job = client.create_recurring_run(
            experiment,
            job_name=NAME,
            max_concurrency=1,
            no_catchup=True,
            params=arguments,
            pipeline_package_path=package,
            **when,
        )
        for old in before:
            client.delete_recurring_run(old)
        return _told(job) | {"experiment": cluster.experiment, "replaced": before}


def schedules(settings: PipelineSettings) -> list[dict[str, Any]]:
    """The recurring runs of the experiment; raises as :func:`schedule`."""
    cluster = find_cluster(settings)
    with open_client(cluster) as client:
        experiment = client.create_experiment(cluster.experiment).experiment_id
        return [_told(job) for job in _ours(client, experiment)]


def unschedule(settings: PipelineSettings) -> list[str]:
    """Remove the recurring runs of the experiment; returns their ids. Raises as :func:`schedule`."""
    cluster = find_cluster(settings)
    with open_client(cluster) as client:
        experiment = client.create_experiment(cluster.experiment).experiment_id
        found = [str(job.recurring_run_id) for job in _ours(client, experiment)]
        for job in found:
            client.delete_recurring_run(job)
        return found


def _ours(client: Any, experiment: str) -> Iterator[Any]:
    """The recurring runs that carry our name, read whole before anything is changed."""
    jobs, token = [], ""
    while True:
        page = client.list_recurring_runs(page_token=token, page_size=100, experiment_id=experiment)
        jobs += [job for job in page.recurring_runs or [] if job.display_name == NAME]
        token = page.next_page_token
        if not token:
            return iter(jobs)


def _told(job: Any) -> dict[str, Any]:
    trigger = job.trigger
    cron = getattr(getattr(trigger, "cron_schedule", None), "cron", None)
    period = getattr(getattr(trigger, "periodic_schedule", None), "interval_second", None)
    return {
        "recurring_run_id": job.recurring_run_id,
        "schedule": cron or (f"every {int(period)} s" if period else ""),
        "status": str(job.status or job.mode or ""),
    }
