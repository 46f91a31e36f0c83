"""The artifact of a model: a folder of files and a manifest that vouches for each of them.

    <folder>/
      manifest.json     written last: what the model is, and the SHA-256 of every other file
      *.cbm *.npz *.json …

A folder is sealed once, by training, and verified before every load. A file that was changed,
lost or added since, or that is a symbolic link, is refused by name. Nothing in an artifact is
a pickle; what the files hold is the model's business, not this module's.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from graildient.errors import ArtifactCorrupted, Detail, ModelError, StorageError
from graildient.listing import UtcDatetime

MANIFEST = "manifest.json"
FORMAT: Final = 1

# A version has a digit and an alias has none, so neither can be taken for the other.
NAME = re.compile(r"[a-z][a-z0-9_-]{0,49}")
VERSION = re.compile(r"(?=[^0-9]*[0-9])[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
ALIAS = re.compile(r"[a-z]([a-z_-]{0,48}[a-z])?")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9][A-Za-z0-9._-]{0,99}){0,3}")
_SHA256 = r"^[0-9a-f]{64}$"


class Manifest(BaseModel):
    """What a model is and where it comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = FORMAT
    name: str = Field("price", description="The model, as the registry calls it.")
    version: str = Field(description="Lower case, with at least one digit.")
    created_at: UtcDatetime = Field(
        description="When it was sealed. The only field that differs between twins."
    )
    code_version: str
    training_set_sha256: str = Field(pattern=_SHA256, description="Content of the training set.")
    training_from: UtcDatetime = Field(description="Oldest label time of the training rows.")
    training_until: UtcDatetime = Field(description="Newest label time of the training rows.")
    as_of: UtcDatetime = Field(description="The market was known up to here.")
    rows: int = Field(ge=0, description="Training rows.")
    features: list[dict[str, Any]] = Field(description="Name, kind, source and meaning of each, in order.")
    settings: dict[str, Any] = Field(description="Settings of search and training.")
    params: dict[str, Any] = Field(description="Parameters that the search chose.")
    metrics: dict[str, Any] = Field(description="Measured on listings that the model was not fitted on.")
    files: dict[str, str] = Field(description="SHA-256 of each file, by its path below the folder.")
    content_sha256: str = Field(
        pattern=_SHA256, description="Of all of the above but version and created_at."
    )

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        return _matching(NAME, value, "lower-case letters, digits, `-` and `_`, a letter first")

    @field_validator("version")
    @classmethod
    def _version(cls, value: str) -> str:
        return _matching(VERSION, value, "lower-case letters, digits, `.`, `-` and `_`, with a digit")

    @field_validator("files")
    @classmethod
    def _files(cls, value: dict[str, str]) -> dict[str, str]:
        for path, digest in value.items():
            if not _FILE.fullmatch(path) or path == MANIFEST:
                raise ValueError(f"{path!r} is no name for a file of an artifact")
            if not re.fullmatch(_SHA256, digest):
                raise ValueError(f"{path}: not a SHA-256")
        if not value:
            raise ValueError("an artifact without files")
        return value


def _matching(pattern: re.Pattern[str], value: str, rule: str) -> str:
    if not pattern.fullmatch(value) or ".." in value:
        raise ValueError(f"{value!r}: {rule}")
    return value


def seal(folder: Path, **fields: Any) -> Manifest:
    """Hash every file of a folder and write its manifest.

    `fields` are those of :class:`Manifest` but `files` and `content_sha256`. `created_at` defaults to
    now, and `version` to `<as_of's date>-<first ten digits of content_sha256>`, so that the same
    content gets the same version. But for `created_at` the same folder and fields give the same bytes.

    Raises:
        ModelError: a field is missing, wrong or not JSON, or a file has no place in an artifact.
        StorageError: the manifest cannot be written.
    """
    body = {"format": FORMAT, "name": "price", **fields}
    files: dict[str, str] = {}
    for path, entry in _entries(folder):
        if path == MANIFEST:
            continue
        if not stat.S_ISREG(entry.st_mode) or not _FILE.fullmatch(path):
            raise ModelError(
                f"cannot seal {folder}: {path} has no place in an artifact",
                details=[Detail(path, "not a plain file with a plain name")],
            )
        files[path] = _sha256(folder / path)
    body["files"] = files
    body.setdefault("created_at", datetime.now(UTC))
    # Checked first without the two fields that follow from the rest.
    draft = _validated({"version": "0", **body, "content_sha256": "0" * 64})
    body["content_sha256"] = _content_sha256(draft)
    body.setdefault("version", f"{draft.as_of:%Y%m%d}-{body['content_sha256'][:10]}")
    manifest = _validated(body)
    try:
        # Torn by a kill it is no JSON, hence refused; the next seal replaces it.
        (folder / MANIFEST).write_bytes(to_bytes(manifest))
    except OSError as error:
        raise StorageError(f"cannot write {folder / MANIFEST}: {error.strerror}") from None
    return manifest


def verify(folder: Path) -> Manifest:
    """Check every file of a folder against its manifest.

    Raises:
        ArtifactCorrupted: naming each file that is changed, missing or extra, or the manifest itself.
    """
    manifest = read_manifest(folder)
    wrong: dict[str, str] = {}
    found: set[str] = set()
    for path, entry in _entries(folder):
        if path == MANIFEST:
            continue
        found.add(path)
        if stat.S_ISLNK(entry.st_mode):
            wrong[path] = "a symbolic link"
        elif path not in manifest.files:
            wrong[path] = "not in the manifest"
        elif not stat.S_ISREG(entry.st_mode):
            wrong[path] = "not a plain file"
        elif _sha256(folder / path) != manifest.files[path]:
            wrong[path] = "changed"
    wrong.update({path: "missing" for path in manifest.files if path not in found})
    if wrong:
        raise corrupted(str(folder), wrong)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder, without looking at the other files.

    Raises:
        ArtifactCorrupted: it is missing, a symbolic link, or not a sound manifest.
    """
    path = folder / MANIFEST
    try:
        if path.is_symlink():
            raise corrupted(str(folder), {MANIFEST: "a symbolic link"})
        return parse_manifest(path.read_bytes(), str(folder))
    except OSError as error:
        raise corrupted(str(folder), {MANIFEST: error.strerror or "unreadable"}) from None


def parse_manifest(data: bytes, where: str) -> Manifest:
    """A manifest from its bytes; `where` is the address that errors name.

    Raises:
        ArtifactCorrupted: it is of another format, does not parse, or was changed since it was sealed.
    """
    try:
        body = json.loads(data)
    except ValueError:
        raise corrupted(where, {MANIFEST: "not JSON"}) from None
    written = body.get("format") if isinstance(body, dict) else None
    if written != FORMAT:
        raise corrupted(where, {MANIFEST: f"format {written!r}; this program reads format {FORMAT}"})
    try:
        manifest = _validated(body)
    except ModelError as error:
        raise corrupted(where, {MANIFEST: error.message}) from None
    if _content_sha256(manifest) != manifest.content_sha256:
        raise corrupted(where, {MANIFEST: "changed"})
    return manifest


def to_bytes(manifest: Manifest) -> bytes:
    """The manifest as it is written: sorted, indented JSON."""
    return (
        json.dumps(manifest.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    ).encode()


def corrupted(where: str, wrong: Mapping[str, str]) -> ArtifactCorrupted:
    """The error that refuses an artifact, with one detail a file."""
    details = [Detail(path, wrong[path]) for path in sorted(wrong)]
    named = "; ".join(f"{d.field}: {d.reason}" for d in details[:5])
    if len(details) > 5:
        named += f"; and {len(details) - 5} more"
    return ArtifactCorrupted(
        f"the artifact at {where} does not match its manifest: {named}",
        hint="it is not loaded; train or register it again, or serve another version",
        details=details,
    )


def _validated(body: Mapping[str, Any]) -> Manifest:
    plain: dict[str, Any] = {}
    for field, value in body.items():
        try:
            # Through JSON first: what gets hashed is what a reader of the file will see.
            plain[field] = json.loads(json.dumps(value, default=_plain, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise _invalid([Detail(field, f"not JSON: {error}")]) from None
    try:
        return Manifest.model_validate(plain)
    except ValidationError as error:
        raise _invalid([Detail(".".join(map(str, e["loc"])), e["msg"]) for e in error.errors()]) from None


def _invalid(details: list[Detail]) -> ModelError:
    return ModelError("manifest: " + "; ".join(f"{d.field}: {d.reason}" for d in details), details=details)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "item"):  # a NumPy scalar
        return value.item()
    raise TypeError(f"{type(value).__name__} {value!r}")


def _content_sha256(manifest: Manifest) -> str:
    body = manifest.model_dump(mode="json", exclude={"version", "created_at", "content_sha256"})
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with open(path, "rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _entries(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below a folder but plain sub-folders, by relative path, sorted; links are not followed."""
    for base, folders, files in os.walk(folder, onerror=_unreadable):
        folders.sort()
        linked = [name for name in folders if (Path(base) / name).is_symlink()]
        for name in sorted(files + linked):
            path = Path(base) / name
            yield path.relative_to(folder).as_posix(), path.lstat()


def _unreadable(error: OSError) -> None:
    raise ModelError(f"cannot read {error.filename}: {error.strerror}")
