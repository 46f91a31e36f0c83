"""What the pipeline needs to know of the cluster that it runs on."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from graildient.settings import PipelineSettings

SECRET_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "GRAILDIENT_FEATURES_REDIS_URL")
"""Keys of the Secret, each the variable of the steps that it becomes; it need not have all of them."""


class ClusterSettings(PipelineSettings):
    """Kubeflow Pipelines, and what its pods are given. Prefix `GRAILDIENT_PIPELINE_`."""

    root: str = Field(
        "", description="Root of the steps on the cluster. Empty: GRAILDIENT_ROOT, if it is s3://."
    )
    secret: str = Field(
        "graildient",
        description="Secret with the steps' credentials; it may be missing. Empty: none is read.",
    )
    volume_claim: str = Field("", description="PersistentVolumeClaim that the steps mount. Empty: none.")
    volume_path: str = Field("/data", description="Where they mount it.")
    region: str = Field("", description="AWS_DEFAULT_REGION of the steps. Empty: not set.")
    retries: int = Field(1, ge=0, description="How often a failed step is tried again.")
    timeout_seconds: int = Field(7200, ge=1, description="How long `pipeline submit --wait` waits.")

    def equip(self, task: Any) -> Any:
        """Give a task of the pipeline its environment; the values of secrets stay in the cluster."""
        from kfp import kubernetes

        if self.secret:
            keys = {key: key for key in SECRET_KEYS}
            kubernetes.use_secret_as_env(task, secret_name=self.secret, secret_key_to_env=keys, optional=True)
        if self.volume_claim:
            kubernetes.mount_pvc(task, pvc_name=self.volume_claim, mount_path=self.volume_path)
        if self.region:
            task.set_env_variable("AWS_DEFAULT_REGION", self.region)
        return task
