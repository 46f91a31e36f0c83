"""The registry's promises, the same on a local folder and on a real S3 server."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import pytest

from graildient.errors import ArtifactCorrupted, ModelError, ModelNotFound, StorageError
from graildient.pricing.artifact import MANIFEST, verify
from graildient.pricing.registry import Registry
from graildient.storage import Storage

Make = Callable[..., Path]


@pytest.fixture(params=["local", "s3"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    storage = request.getfixturevalue("storage" if request.param == "local" else "s3_storage")
    return Registry(storage, scratch=tmp_path / "scratch")


def endpoint_of(registry: Registry, request: pytest.FixtureRequest) -> str:
    return "" if registry.storage.is_local else request.getfixturevalue("s3_server").endpoint


def test_registers_lists_and_fetches(registry: Registry, make_artifact: Make) -> None:
    assert registry.versions() == []
    assert registry.register(make_artifact("v2", b"two")) == "v2"
    assert registry.register(make_artifact("v10", b"ten")) == "v10"

    assert registry.versions() == ["v10", "v2"]
    assert registry.manifest("v2").metrics == {"rmsle": 0.5}
    fetched = registry.fetch("v2")
    assert verify(fetched) == registry.manifest("v2")
    assert (fetched / "price.cbm").read_bytes() == b"two"
    assert (fetched / "text" / "weights.npz").read_bytes() == b"weights"


def test_the_same_content_twice_is_one_version(registry: Registry, make_artifact: Make) -> None:
    registry.register(make_artifact("v1"))
    first = registry.manifest("v1")
    registry.register(make_artifact("v1", created_at=datetime(2021, 1, 31, 5, tzinfo=UTC)))
    assert registry.manifest("v1") == first
    assert registry.versions() == ["v1"]


def test_a_version_never_changes(registry: Registry, make_artifact: Make) -> None:
    registry.register(make_artifact("v1", b"one"))
    with pytest.raises(ModelError, match="v1 of 'price' exists with other content"):
        registry.register(make_artifact("v1", b"another"))
    assert (registry.fetch("v1") / "price.cbm").read_bytes() == b"one"


def test_refuses_a_corrupted_folder_and_another_model(registry: Registry, make_artifact: Make) -> None:
    folder = make_artifact("v1")
    (folder / "price.cbm").write_bytes(b"treeS")
    with pytest.raises(ArtifactCorrupted, match=r"price\.cbm: changed"):
        registry.register(folder)
    with pytest.raises(ModelError, match="'size'"):
        registry.register(make_artifact("v2", name="size"))
    assert registry.versions() == []


@pytest.mark.parametrize(
    ("path", "data", "message"),
    [
        ("price.cbm", b"treeS", r"price\.cbm: changed"),
        ("text/weights.npz", None, r"text/weights\.npz: missing"),
        ("more.json", b"{}", r"more\.json: not in the manifest"),
        (MANIFEST, b"{", r"manifest\.json: not JSON"),
    ],
)
def test_refuses_to_fetch_what_was_changed(
    registry: Registry, make_artifact: Make, path: str, data: bytes | None, message: str
) -> None:
    registry.register(make_artifact("v1"))
    stored = f"{registry.base}/versions/v1/{path}"
    if data is None:
        registry.storage.remove(stored)
    else:
        registry.storage.write_bytes(stored, data)
    with pytest.raises(ArtifactCorrupted, match=message):
        registry.fetch("v1")
    assert not list(registry.scratch.rglob("*.cbm"))


def test_refuses_a_manifest_of_another_version(registry: Registry, make_artifact: Make) -> None:
    registry.register(make_artifact("v1"))
    versions = f"{registry.base}/versions"
    registry.storage.write_bytes(
        f"{versions}/v2/{MANIFEST}", registry.storage.read_bytes(f"{versions}/v1/{MANIFEST}")
    )
    with pytest.raises(ArtifactCorrupted, match="is of price v1"):
        registry.manifest("v2")


def test_fetches_into_a_folder_and_reuses_it(registry: Registry, make_artifact: Make, tmp_path: Path) -> None:
    registry.register(make_artifact("v1"))
    target = registry.fetch("v1", into=tmp_path / "into")
    assert target == tmp_path / "into" / "v1"
    before = (target / "price.cbm").stat()
    again = registry.fetch("v1", into=tmp_path / "into")
    assert (again / "price.cbm").stat().st_ino == before.st_ino

    (target / "price.cbm").write_bytes(b"treeS")
    registry.fetch("v1", into=tmp_path / "into")
    assert (target / "price.cbm").read_bytes() == b"trees"
    assert sorted(p.name for p in (tmp_path / "into").iterdir()) == [".lock", "v1"]


def test_a_copy_of_another_registry_is_not_reused(
    registry: Registry, make_artifact: Make, tmp_path: Path
) -> None:
    registry.register(make_artifact("v1", b"ours"))
    other = Registry(Storage(str(tmp_path / "other")))
    other.register(make_artifact("v1", b"theirs"))
    other.fetch("v1", into=tmp_path / "into")
    assert (registry.fetch("v1", into=tmp_path / "into") / "price.cbm").read_bytes() == b"ours"


def test_aliases_move_and_remember(registry: Registry, make_artifact: Make) -> None:
    for version in ("v1", "v2"):
        registry.register(make_artifact(version, version.encode()))
    assert registry.alias("champion") is None
    assert registry.history("champion") == []

    registry.set_alias("champion", "v1", reason="the first")
    registry.set_alias("champion", "v2", reason="better")
    registry.set_alias("champion", "v2", reason="again")
    registry.set_alias("challenger", "v1", reason="to compare")

    assert registry.alias("champion") == "v2"
    assert registry.resolve("champion") == "v2"
    assert registry.resolve("v1") == "v1"
    assert (registry.fetch("champion") / "price.cbm").read_bytes() == b"v2"
    changes = [(h["version"], h["previous"], h["reason"]) for h in registry.history("champion")]
    assert changes == [("v1", None, "the first"), ("v2", "v1", "better")]
    times = [datetime.fromisoformat(h["promoted_at"]) for h in registry.history("champion")]
    assert times == sorted(times)
    assert times[0].tzinfo is not None


def test_an_alias_moves_only_from_where_it_is_expected(registry: Registry, make_artifact: Make) -> None:
    for version in ("v1", "v2", "v3"):
        registry.register(make_artifact(version, version.encode()))
    registry.set_alias("champion", "v1", reason="the first", expected=None)
    registry.set_alias("champion", "v2", reason="beat v1", expected="v1")
    with pytest.raises(ModelError, match="points to v2 by now, not to v1"):
        registry.set_alias("champion", "v3", reason="beat v1", expected="v1")
    with pytest.raises(ModelError, match="points to v2 by now, not to nothing"):
        registry.set_alias("champion", "v3", reason="the first", expected=None)
    assert registry.alias("champion") == "v2"


def test_of_two_promotions_that_beat_the_same_champion_one_wins(
    registry: Registry, make_artifact: Make
) -> None:
    for version in ("v0", "v1", "v2", "v3"):
        registry.register(make_artifact(version, version.encode()))
    registry.set_alias("champion", "v0", reason="the first")
    start = Barrier(3)

    def promote(version: str) -> bool:
        start.wait()
        try:
            registry.set_alias("champion", version, reason="beat v0", expected="v0")
        except ModelError:
            return False
        return True

    with ThreadPoolExecutor(3) as threads:
        won = list(threads.map(promote, ("v1", "v2", "v3")))
    assert sum(won) == 1
    assert registry.alias("champion") == ("v1", "v2", "v3")[won.index(True)]
    assert len(registry.history("champion")) == 2


RACER = """
import sys
from graildient.pricing.registry import Registry
from graildient.storage import Storage
root, endpoint, first, second, times = sys.argv[1:]
registry = Registry(Storage(root, endpoint=endpoint or None))
print("ready", flush=True)
sys.stdin.readline()
for turn in range(int(times)):
    registry.set_alias("champion", (first, second)[turn % 2], reason=f"turn {turn}")
"""


def test_racing_processes_lose_no_change(
    registry: Registry, make_artifact: Make, request: pytest.FixtureRequest
) -> None:
    for version in ("v1", "v2", "v3", "v4"):
        registry.register(make_artifact(version, version.encode()))
    endpoint = endpoint_of(registry, request)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, registry.storage.root, endpoint, *pair, "6"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for pair in (("v1", "v2"), ("v3", "v4"))
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    codes = []
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    for racer in racers:
        racer.communicate(timeout=60)
        codes.append(racer.returncode)
    assert codes == [0, 0]

    history = registry.history("champion")
    # Each process moves the alias between two versions of its own, so that each call is a change.
    assert len(history) == 12
    assert [h["previous"] for h in history] == [None, *(h["version"] for h in history[:-1])]
    assert registry.alias("champion") == history[-1]["version"]


def test_refuses_what_does_not_exist(registry: Registry, make_artifact: Make) -> None:
    registry.register(make_artifact("v1"))
    with pytest.raises(ModelNotFound, match="no alias 'champion'"):
        registry.fetch("champion")
    with pytest.raises(ModelNotFound, match="no version 'v2'"):
        registry.resolve("v2")
    with pytest.raises(ModelNotFound, match="no version 'v2'"):
        registry.set_alias("champion", "v2", reason="why not")
    with pytest.raises(ModelNotFound, match="no version 'v2'"):
        registry.note("v2", "gate", {})
    assert registry.alias("champion") is None


@pytest.mark.parametrize(
    "name", ["../v1", "v1/..", "/v1", "v1/x", "V1", "", ".v1", "v1.", "v..1", "v1\n", "v" * 60 + "1234"]
)
def test_refuses_names_that_are_paths(registry: Registry, make_artifact: Make, name: str) -> None:
    registry.register(make_artifact("v1"))
    for call in (
        lambda: registry.fetch(name),
        lambda: registry.manifest(name),
        lambda: registry.set_alias("champion", name, reason="x"),
        lambda: registry.set_alias(name, "v1", reason="x"),
        lambda: registry.alias(name),
        lambda: registry.notes(name),
        lambda: registry.note("v1", f"{name}/", {}),
        lambda: Registry(registry.storage, f"{name}/"),
    ):
        with pytest.raises(ModelError, match="is no name for a"):
            call()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"version": "../v1", "history": []}',
        '{"version": "v1"}',
        '{"version": "v1", "history": 1}',
    ],
)
def test_refuses_an_alias_that_is_not_sound(registry: Registry, make_artifact: Make, text: str) -> None:
    registry.register(make_artifact("v1"))
    registry.storage.write_bytes(f"{registry.base}/aliases/champion.json", text.encode())
    with pytest.raises(ModelError, match=r"champion\.json is no"):
        registry.resolve("champion")
    with pytest.raises(ModelError, match=r"champion\.json is no"):
        registry.set_alias("champion", "v1", reason="over it")


def test_notes_stay_outside_the_sealed_files(registry: Registry, make_artifact: Make) -> None:
    registry.register(make_artifact("v1"))
    registry.note("v1", "gate", {"promoted": False, "why": "no better"})
    registry.note("v1", "gate", {"promoted": True})
    registry.note("v1", "approval", {"by": "someone"})
    assert registry.notes("v1") == {"gate": {"promoted": True}, "approval": {"by": "someone"}}
    assert registry.notes("v2") == {}
    assert registry.versions() == ["v1"]
    verify(registry.fetch("v1"))


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from graildient.pricing import registry
from graildient.storage import Storage
root, endpoint, folder, place, name, calls = sys.argv[1:]
models = registry.Registry(Storage(root, endpoint=endpoint or None))
place = {"shutil": shutil, "os": os, "registry": registry, "fs": models.storage.fs}[place]
real, left = getattr(place, name), int(calls)
def killing(*args, **options):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **options)
setattr(place, name, killing)
models.register(Path(folder))
"""


@pytest.mark.parametrize(
    ("kind", "place", "name", "calls"),
    [
        pytest.param("local", "shutil", "copyfile", 2, id="local, between two files"),
        pytest.param("local", "os", "rename", 1, id="local, before the rename"),
        pytest.param("s3", "fs", "put_file", 2, id="s3, between two files"),
        pytest.param("s3", "registry", "put_if", 1, id="s3, before the manifest"),
    ],
)
def test_a_killed_registration_is_repeated_whole(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    make_artifact: Make,
    kind: str,
    place: str,
    name: str,
    calls: int,
) -> None:
    storage = request.getfixturevalue("storage" if kind == "local" else "s3_storage")
    registry = Registry(storage, scratch=tmp_path / "scratch")
    folder = make_artifact("v1")
    arguments = [storage.root, endpoint_of(registry, request), str(folder), place, name, str(calls)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], timeout=60)
    assert killed.returncode == -signal.SIGKILL
    left = storage.fs.find(storage.url(registry.base))
    assert any(str(path).endswith("/price.cbm") for path in left), "killed before anything was written"

    assert registry.versions() == []
    with pytest.raises(ModelNotFound):
        registry.fetch("v1")
    registry.register(folder)
    assert registry.versions() == ["v1"]
    verify(registry.fetch("v1"))
    assert not [path for path in storage.fs.find(storage.url(registry.base)) if ".incoming" in str(path)]


def test_says_which_address_cannot_be_read(make_artifact: Make, tmp_path: Path) -> None:
    (tmp_path / "root").write_text("a file where a folder belongs")
    registry = Registry(Storage(str(tmp_path / "root")))
    with pytest.raises(StorageError, match=r"models at .*root/registry/price: .*Not a directory"):
        registry.register(make_artifact("v1"))
