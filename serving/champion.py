"""The served model: fetched by alias, verified, warmed, and swapped when the alias moves."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graildient.errors import GraildientError
from graildient.pricing.registry import Registry
from serving import metrics

if TYPE_CHECKING:
    from graildient.pricing.model import PriceModel

log = logging.getLogger("graildient.serving")


@dataclass(frozen=True, slots=True)
class Served:
    """One loaded version. A request keeps the one it started with."""

    version: str
    model: PriceModel


class Champion:
    """Follows an alias (or stays with a version) of the registry."""

    def __init__(
        self, registry: Registry, ref: str, name: str, warm: Callable[[Served], object] = lambda _: None
    ) -> None:
        self._registry = registry
        self._ref = ref
        self._name = name
        self._warm = warm
        self._served: Served | None = None
        self._refused = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._swapping = threading.Lock()

    @property
    def loaded(self) -> bool:
        return self._served is not None

    @property
    def served(self) -> Served:
        """The version that answers now; :meth:`load` comes first."""
        assert self._served is not None  # noqa: S101 - the server asks only once it is ready
        return self._served

    def load(self) -> Served:
        """Fetch, verify, load and warm what the alias points to, then serve it.

        Raises:
            ModelNotFound: no such alias or version.
            ArtifactCorrupted: a file does not match the manifest.
            StorageError: the registry cannot be read.
        """
        from graildient.pricing.model import PriceModel

        version = self._registry.resolve(self._ref)
        model = PriceModel.load(self._registry.fetch(version))
        served = Served(version, model)
        self._warm(served)
        before, self._served = self._served, served
        created = model.manifest.created_at.timestamp()
        metrics.serving(self._name, version, created, instead_of=before.version if before else None)
        return served

    def refresh(self) -> bool:
        """Take over a new version, if the alias has moved; whether it did.

        A bad one is counted and told, and the old one goes on serving.
        """
        with self._swapping:
            try:
                if self._registry.resolve(self._ref) == self.served.version:
                    self._refused = ""
                    return False
                served = self.load()
            except Exception as error:
                metrics.RELOAD_FAILURES.inc()
                if str(error) != self._refused:
                    self._refused = str(error)
                    foreseen = isinstance(error, GraildientError)
                    log.error(
                        "the new model is refused, %s goes on: %s",
                        self.served.version,
                        error,
                        exc_info=None if foreseen else error,
                    )
                return False
            self._refused = ""
            metrics.RELOADS.inc()
            log.warning("model %s is served now", served.version)
            return True

    def watch(self, seconds: float) -> None:
        """Look at the alias every so many seconds in a thread; 0: never."""
        if seconds > 0:
            self._thread = threading.Thread(target=self._watch, args=(seconds,), name="reload", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop watching. A load under way is not waited for."""
        self._stop.set()

    def _watch(self, seconds: float) -> None:
        while not self._stop.wait(seconds):
            self.refresh()
