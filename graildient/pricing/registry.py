"""The registry of models: immutable versions, and the aliases that move between them.

    registry/<model>/versions/<version>/…        sealed artifacts
    registry/<model>/aliases/<alias>.json        where an alias points, and its history
    registry/<model>/notes/<version>/<key>.json  what became known of a version afterwards

It lies on a local folder or on `s3://`. A version exists once its manifest does: locally the
whole folder is renamed into place, on S3 the manifest is uploaded last.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graildient.errors import ModelError, ModelNotFound, StorageError
from graildient.pricing.aliases import (
    Aliases,
    Expected,
    locked,
    matching,
    parse_object,
    put_if,
    read_if_there,
    sync,
    to_json,
)
from graildient.pricing.artifact import (
    ALIAS,
    MANIFEST,
    NAME,
    VERSION,
    Manifest,
    corrupted,
    parse_manifest,
    read_manifest,
    to_bytes,
    verify,
)
from graildient.storage import Storage


class Registry:
    """Versions and aliases of one model.

    Errors: StorageError when the address cannot be read or written; ModelError for a name that is
    no name; those of each method besides.
    """

    def __init__(self, storage: Storage, name: str = "price", *, scratch: Path | None = None) -> None:
        """`scratch`: local folder for copies of remote versions; default: the temporary folder."""
        self.storage = storage
        self.name = matching(NAME, "model", name)
        self.base = f"registry/{name}"
        self.scratch = scratch or Path(tempfile.gettempdir()) / "graildient"
        self._aliases = Aliases(storage, f"{self.base}/aliases")

    def register(self, folder: Path) -> str:
        """Verify a sealed folder and keep it under its version, which is returned.

        The same content registered again (whenever it was sealed) changes nothing, also after a
        registration that was killed half-way.

        Raises:
            ArtifactCorrupted: the folder does not match its manifest.
            ModelError: the manifest is another model's, or the version exists with other content.
        """
        manifest = verify(folder)
        if manifest.name != self.name:
            raise ModelError(
                f"{folder} holds a model of {manifest.name!r}; this is the registry of {self.name!r}"
            )
        with self._reported("register"):
            if not self._is_there(manifest):
                if self.storage.is_local:
                    self._move_in(folder, manifest)
                else:
                    self._upload(folder, manifest)
        return manifest.version

    def versions(self) -> list[str]:
        """Every version, sorted by name."""
        with self._reported("list"):
            found = (p.split("/")[-2] for p in self.storage.glob(f"{self.base}/versions/*/{MANIFEST}"))
            return sorted(v for v in found if VERSION.fullmatch(v))

    def manifest(self, version: str) -> Manifest:
        """The manifest of a version.

        Raises:
            ModelNotFound: there is no such version.
            ArtifactCorrupted: the manifest is not sound, or is another version's.
        """
        folder = self._folder(version)
        where = self.storage.url(folder)
        with self._reported("read"):
            try:
                data = read_if_there(self.storage, f"{folder}/{MANIFEST}")
            except self._checksum_errors:
                raise corrupted(where, {MANIFEST: "changed"}) from None
        if data is None:
            raise ModelNotFound(
                f"no version {version!r} of the model {self.name!r} in {self.storage.url(self.base)}",
                hint="list them: graildient models list",
            )
        manifest = parse_manifest(data, where)
        if (manifest.name, manifest.version) != (self.name, version):
            raise corrupted(where, {MANIFEST: f"is of {manifest.name} {manifest.version}"})
        return manifest

    def resolve(self, ref: str) -> str:
        """The version that an alias or a version stands for.

        Raises:
            ModelNotFound: neither exists.
        """
        if not ALIAS.fullmatch(ref):
            return self.manifest(ref).version
        version = self.alias(ref)
        if version is None:
            raise ModelNotFound(
                f"no alias {ref!r} of the model {self.name!r} in {self.storage.url(self.base)}",
                hint="train and promote a model first: graildient pipeline run",
            )
        return version

    def fetch(self, ref: str, into: Path | None = None) -> Path:
        """A verified local folder that holds a version.

        A local registry answers with its own folder. A remote one, or `into`, gets a copy in
        `<into>/<version>`, which is reused as long as it is what the registry's manifest says.

        Raises:
            ModelNotFound: no such version or alias.
            ArtifactCorrupted: a file of the registry's copy is changed, missing or extra.
        """
        manifest = self.manifest(self.resolve(ref))
        if self.storage.is_local:
            verify(own := self.storage.local(self._folder(manifest.version)))
            if into is None:
                return own
        shelf = into or self.scratch / "models" / _digest(self.storage.url(self.base)) / self.name
        with self._reported("fetch"):
            shelf.mkdir(parents=True, exist_ok=True, mode=0o700)
            with locked(shelf):
                return self._copy_out(manifest, shelf / manifest.version)

    def alias(self, name: str) -> str | None:
        """The version that an alias points to, or None."""
        with self._reported("read"):
            record = self._aliases.read(name)
        return None if record is None else str(record["version"])

    def set_alias(
        self, name: str, version: str, *, reason: str, expected: str | Expected | None = Expected.ANYTHING
    ) -> None:
        """Point an alias to a version; to where it points already is no change.

        With `expected` (a version, or None for an alias that does not exist yet) it moves only if it
        still points there: what was compared with one champion does not replace another.

        Raises:
            ModelNotFound: there is no such version.
            ModelError: the alias has moved from `expected`.
        """
        self.manifest(version)
        with self._reported("promote"):
            self._aliases.move(name, version, reason=reason, expected=expected)

    def history(self, name: str) -> list[dict[str, Any]]:
        """Every change of an alias, oldest first: version, promoted_at, reason, previous."""
        with self._reported("read"):
            record = self._aliases.read(name)
        return [] if record is None else list(record["history"])

    def note(self, version: str, key: str, value: dict[str, Any]) -> None:
        """Keep something beside a version, outside the sealed files (the gate's verdict); the last one stays.

        Raises:
            ModelNotFound: there is no such version.
        """
        path = f"{self._notes(version)}/{matching(NAME, 'note', key)}.json"
        self.manifest(version)
        with self._reported("note"):
            self.storage.write_bytes(path, to_json(value))

    def notes(self, version: str) -> dict[str, dict[str, Any]]:
        """What was noted of a version, by key."""
        found = {}
        with self._reported("read"):
            for name in self.storage.list(self._notes(version)):
                path = f"{self._notes(version)}/{name}"
                found[name.removesuffix(".json")] = parse_object(
                    self.storage.read_bytes(path), self.storage.url(path)
                )
        return found

    def _is_there(self, manifest: Manifest) -> bool:
        try:
            present = self.manifest(manifest.version)
        except ModelNotFound:
            return False
        if present.content_sha256 != manifest.content_sha256:
            raise ModelError(
                f"version {manifest.version} of {self.name!r} exists with other content; "
                "a version never changes",
                hint="give the new one a version of its own",
            )
        return True

    def _move_in(self, folder: Path, manifest: Manifest) -> None:
        target = self.storage.local(self._folder(manifest.version))
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.parent):
            if self._is_there(manifest):
                return
            # Under the lock nobody else is registering: what lies here is left from a kill.
            for stale in target.parent.glob(".incoming-*"):
                shutil.rmtree(stale)
            with _incoming(target) as incoming:
                for path in manifest.files:
                    (incoming / path).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(folder / path, incoming / path)
                (incoming / MANIFEST).write_bytes(to_bytes(manifest))
                verify(incoming)  # the source may have changed while it was copied
                for base, _, files in os.walk(incoming):
                    for path in (*files, "."):
                        sync(Path(base) / path)
                os.rename(incoming, target)
                sync(target.parent)

    def _upload(self, folder: Path, manifest: Manifest) -> None:
        prefix = self._folder(manifest.version)
        for path in self._objects(prefix):  # left from a registration that never got to its manifest
            if path not in manifest.files:
                self.storage.remove(f"{prefix}/{path}")
        for path in manifest.files:
            self.storage.fs.put_file(str(folder / path), self.storage.url(f"{prefix}/{path}"))
        written = put_if(self.storage, f"{prefix}/{MANIFEST}", to_bytes(manifest), tag=None)
        if not written and not self._is_there(manifest):
            raise StorageError(f"{self.storage.url(prefix)}/{MANIFEST} was refused, and is not there")

    def _copy_out(self, manifest: Manifest, target: Path) -> Path:
        try:
            if read_manifest(target) == manifest:
                verify(target)
                return target
        except ModelError:
            pass  # absent, or no longer sound: copied again
        prefix = self._folder(manifest.version)
        where = self.storage.url(prefix)
        extra = set(self._objects(prefix)) - {MANIFEST, *manifest.files}
        if extra:
            raise corrupted(where, dict.fromkeys(extra, "not in the manifest"))
        with _incoming(target) as incoming:
            for path in manifest.files:
                (incoming / path).parent.mkdir(parents=True, exist_ok=True)
                try:
                    self.storage.fs.get_file(f"{where}/{path}", str(incoming / path))
                except FileNotFoundError:
                    raise corrupted(where, {path: "missing"}) from None
                except self._checksum_errors:
                    raise corrupted(where, {path: "changed"}) from None
            (incoming / MANIFEST).write_bytes(to_bytes(manifest))
            verify(incoming)
            shutil.rmtree(target, ignore_errors=True)
            os.rename(incoming, target)
        return target

    def _objects(self, prefix: str) -> list[str]:
        self.storage.fs.invalidate_cache()
        found = self.storage.fs.find(self.storage.url(prefix))
        root = self.storage.url(prefix).split("://", 1)[-1] + "/"
        return sorted(str(p).removeprefix(root) for p in found)

    def _folder(self, version: str) -> str:
        return f"{self.base}/versions/{matching(VERSION, 'version', version)}"

    def _notes(self, version: str) -> str:
        return f"{self.base}/notes/{matching(VERSION, 'version', version)}"

    @property
    def _checksum_errors(self) -> tuple[type[Exception], ...]:
        """What the S3 client raises for an object that is not what was put."""
        if self.storage.is_local:
            return ()
        from botocore.exceptions import FlexibleChecksumError

        return (FlexibleChecksumError,)

    @contextmanager
    def _reported(self, what: str) -> Iterator[None]:
        """What the file system or the S3 client raises becomes a StorageError that names the address."""
        failures: tuple[type[Exception], ...] = (OSError,)
        if not self.storage.is_local:
            from botocore.exceptions import BotoCoreError

            failures += (BotoCoreError,)
        try:
            yield
        except failures as error:
            raise StorageError(f"cannot {what} models at {self.storage.url(self.base)}: {error}") from None


@contextmanager
def _incoming(target: Path) -> Iterator[Path]:
    """A hidden folder beside the target, to be renamed to it; whatever is left of it goes."""
    folder = target.with_name(f".incoming-{target.name}-{secrets.token_hex(4)}")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
