"""Where Feast keeps its registry: below the root like everything else, or nowhere.

Feast's own file store writes in place (a kill leaves half a file) and its S3 store needs boto3;
these two go through :class:`graildient.storage.Storage`, whole or not at all, or stay in memory.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path

from feast.infra.registry.registry_store import RegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto
from feast.repo_config import RegistryConfig

from graildient.errors import StorageError
from graildient.settings import StorageSettings
from graildient.storage import Storage

ENDPOINT = "endpoint_url"
"""Key of `s3_additional_kwargs` that names an S3 server other than the environment's."""


class StorageRegistryStore(RegistryStore):
    """The registry as one file of a :class:`Storage`."""

    def __init__(self, registry_config: RegistryConfig, repo_path: Path | None) -> None:  # noqa: ARG002
        folder, _, self._name = registry_config.path.rpartition("/")
        given = (registry_config.s3_additional_kwargs or {}).get(ENDPOINT)
        self._storage = Storage(folder, endpoint=given or StorageSettings().s3_endpoint)

    def get_registry_proto(self) -> RegistryProto:
        """Raises FileNotFoundError when nothing was registered yet, as Feast expects."""
        try:
            data = self._storage.read_bytes(self._name)
        except StorageError as error:
            if self._storage.exists(self._name):
                raise
            raise FileNotFoundError(f'{error.message}. Have you run "graildient features build"?') from None
        registry = RegistryProto()
        registry.ParseFromString(data)
        return registry

    def update_registry_proto(self, registry_proto: RegistryProto) -> None:
        registry_proto.version_id = str(uuid.uuid4())
        registry_proto.last_updated.FromDatetime(datetime.now(UTC))
        self._storage.write_bytes(self._name, registry_proto.SerializeToString())

    def teardown(self) -> None:
        self._storage.remove(self._name)


class MemoryRegistryStore(RegistryStore):
    """A registry that one process fills from the definitions in the code.

    Serving uses it: nothing that another process wrote (a registry file may carry code objects)
    is ever loaded, and a look-up needs no file.
    """

    def __init__(self, registry_config: RegistryConfig, repo_path: Path | None) -> None:  # noqa: ARG002
        self._registry: RegistryProto | None = None

    def get_registry_proto(self) -> RegistryProto:
        if self._registry is None:
            raise FileNotFoundError("the registry is still empty")
        return self._registry

    def update_registry_proto(self, registry_proto: RegistryProto) -> None:
        self._registry = RegistryProto()
        self._registry.CopyFrom(registry_proto)

    def teardown(self) -> None:
        self._registry = None
