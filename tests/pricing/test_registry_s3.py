"""What the registry promises on S3 alone, against a real S3 server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graildient.errors import ArtifactCorrupted, ModelError, StorageError
from graildient.pricing.aliases import put_if, read_if_there
from graildient.pricing.artifact import MANIFEST, verify
from graildient.pricing.registry import Registry
from graildient.storage import Storage

Make = Callable[..., Path]


def test_conditional_puts_of_this_server_are_refused_when_they_should_be(s3_storage: Storage) -> None:
    def tag() -> str:
        bucket, _, key = s3_storage.url("x.json").removeprefix("s3://").partition("/")
        return str(s3_storage.fs.call_s3("head_object", Bucket=bucket, Key=key)["ETag"])

    assert not put_if(s3_storage, "x.json", b"0", tag='"0123456789abcdef0123456789abcdef"')
    assert put_if(s3_storage, "x.json", b"1", tag=None)
    assert not put_if(s3_storage, "x.json", b"2", tag=None)
    first = tag()
    assert put_if(s3_storage, "x.json", b"3", tag=first)
    assert not put_if(s3_storage, "x.json", b"4", tag=first)
    assert read_if_there(s3_storage, "x.json") == b"3"


def test_the_manifest_is_uploaded_last(
    s3_storage: Storage, make_artifact: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    registry = Registry(s3_storage, scratch=tmp_path)
    seen: list[list[str]] = []

    def spy(storage: Storage, path: str, data: bytes, tag: str | None) -> bool:
        assert path.endswith(MANIFEST)
        storage.fs.invalidate_cache()
        seen.append(
            [str(p).split("/v1/")[1] for p in storage.fs.find(storage.url(f"{registry.base}/versions/v1"))]
        )
        return put_if(storage, path, data, tag)

    monkeypatch.setattr("graildient.pricing.registry.put_if", spy)
    registry.register(make_artifact("v1"))
    assert seen == [["price.cbm", "text/weights.npz"]]


def test_what_another_registration_left_is_replaced(
    s3_storage: Storage, make_artifact: Make, tmp_path: Path
) -> None:
    registry = Registry(s3_storage, scratch=tmp_path)
    left = f"{registry.base}/versions/v1"
    s3_storage.write_bytes(f"{left}/price.cbm", b"of another try")
    s3_storage.write_bytes(f"{left}/more/of_it.json", b"{}")
    s3_storage.write_bytes(f"{registry.base}/versions/v10/price.cbm", b"a neighbour")

    registry.register(make_artifact("v1"))
    fetched = registry.fetch("v1")
    assert (fetched / "price.cbm").read_bytes() == b"trees"
    assert read_if_there(s3_storage, f"{registry.base}/versions/v10/price.cbm") == b"a neighbour"


@pytest.mark.parametrize(("theirs", "refused"), [(b"trees", False), (b"their trees", True)])
def test_of_two_registrations_at_once_the_first_manifest_stands(
    s3_storage: Storage,
    make_artifact: Make,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    theirs: bytes,
    refused: bool,
) -> None:
    registry = Registry(s3_storage, scratch=tmp_path / "scratch")

    def late(storage: Storage, path: str, data: bytes, tag: str | None) -> bool:
        monkeypatch.setattr("graildient.pricing.registry.put_if", put_if)
        Registry(s3_storage).register(make_artifact("v1", theirs))
        return put_if(storage, path, data, tag)

    monkeypatch.setattr("graildient.pricing.registry.put_if", late)
    if refused:
        with pytest.raises(ModelError, match="exists with other content"):
            registry.register(make_artifact("v1"))
    else:
        assert registry.register(make_artifact("v1")) == "v1"
    assert (registry.fetch("v1") / "price.cbm").read_bytes() == theirs


@pytest.mark.parametrize("path", ["price.cbm", MANIFEST])
def test_a_bit_that_rotted_in_the_bucket_is_refused_by_name(
    s3_storage: Storage, s3_env: Any, make_artifact: Make, tmp_path: Path, path: str
) -> None:
    registry = Registry(s3_storage, scratch=tmp_path / "scratch")
    registry.register(make_artifact("v1"))
    folder: Path = s3_env.folder
    stored = folder / s3_storage.root.removeprefix("s3://") / registry.base / "versions" / "v1" / path
    data = bytearray(stored.read_bytes())
    data[2] ^= 1
    with open(stored, "r+b") as out:  # in place: the server keeps its checksum beside the file
        out.write(data)
    with pytest.raises(ArtifactCorrupted, match=f"{path}: changed"):
        registry.fetch("v1")


def test_two_machines_see_each_others_changes_at_once(
    s3_env: Any, s3_storage: Storage, make_artifact: Make, tmp_path: Path
) -> None:
    here = Registry(s3_storage, scratch=tmp_path / "here")
    # Another instance: fsspec would hand out the same one, listings cached, for the same arguments.
    elsewhere_storage = Storage(s3_storage.root, endpoint=s3_env.endpoint + "/")
    assert elsewhere_storage.fs is not s3_storage.fs
    elsewhere = Registry(elsewhere_storage, scratch=tmp_path / "elsewhere")

    assert here.versions() == elsewhere.versions() == []
    here.register(make_artifact("v1"))
    assert elsewhere.versions() == ["v1"]
    elsewhere.set_alias("champion", "v1", reason="the first")
    assert here.alias("champion") == "v1"
    here.register(make_artifact("v2", b"two"))
    here.set_alias("champion", "v2", reason="better")
    assert verify(elsewhere.fetch("champion")).version == "v2"
    assert [h["version"] for h in elsewhere.history("champion")] == ["v1", "v2"]


def test_says_that_a_bucket_or_a_server_is_not_there(
    s3_env: Any, make_artifact: Make, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_artifact("v1")
    endpoint = s3_env.endpoint
    with pytest.raises(StorageError, match="cannot register models at s3://absent/root/registry/price"):
        Registry(Storage("s3://absent/root", endpoint=endpoint)).register(folder)

    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    gone = Storage("s3://bucket/root", endpoint=f"http://127.0.0.1:{free_port}")
    gone.fs.retries = 1
    with pytest.raises(StorageError, match="s3://bucket/root/registry/price"):
        Registry(gone).versions()


def test_refuses_a_wrong_secret(s3_env: Any, s3_storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(s3_storage)
    assert registry.alias("champion") is None, "clients take their credentials when they are first used"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    type(s3_storage.fs).clear_instance_cache()
    stranger = Registry(Storage(s3_storage.root, endpoint=s3_env.endpoint))
    with pytest.raises(StorageError, match="cannot read models at") as refused:
        stranger.alias("champion")
    assert "wrong" not in refused.value.message
    assert registry.alias("champion") is None
