from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from graildient.errors import StorageError
from graildient.storage import Storage


@pytest.fixture(params=["local", "s3"])
def any_storage(request: pytest.FixtureRequest) -> Storage:
    storage: Storage = request.getfixturevalue("storage" if request.param == "local" else "s3_storage")
    return storage


def test_what_is_written_is_read_listed_and_removed(any_storage: Storage) -> None:
    any_storage.write_bytes("a/b/one.txt", b"1")
    any_storage.write_bytes("a/b/two.txt", b"2")
    any_storage.write_bytes("a/c/three.json", b"3")
    any_storage.write_bytes("a/b/one.txt", b"new")
    assert any_storage.read_bytes("a/b/one.txt") == b"new"
    assert any_storage.exists("a/b/one.txt")
    assert not any_storage.exists("a/b/nothing")
    assert any_storage.list("a") == ["b", "c"]
    assert any_storage.list("a/b") == ["one.txt", "two.txt"]
    assert any_storage.glob("a/*/*.txt") == ["a/b/one.txt", "a/b/two.txt"]
    any_storage.remove("a/b")
    any_storage.remove("a/b")
    assert any_storage.glob("a/*/*") == ["a/c/three.json"]


def test_what_is_not_there(any_storage: Storage) -> None:
    assert any_storage.list("nothing") == any_storage.glob("nothing/*") == []
    with pytest.raises(StorageError, match=r"no file at .*nothing"):
        any_storage.read_bytes("nothing")


def test_what_another_writer_adds_is_seen_at_once(any_storage: Storage) -> None:
    assert any_storage.list("a") == any_storage.glob("a/*") == []
    Storage(any_storage.root, endpoint=getattr(any_storage.fs, "endpoint_url", None)).write_bytes("a/b", b"1")
    assert any_storage.list("a") == ["b"]
    assert any_storage.glob("a/*") == ["a/b"]


def test_hidden_files_are_not_listed(storage: Storage) -> None:
    storage.write_bytes("a/b", b"1")
    storage.local("a/.b.12.part").write_bytes(b"half")
    assert storage.list("a") == ["b"]
    assert storage.glob("a/*") == ["a/b"]


def test_a_reader_never_sees_half_a_file(storage: Storage) -> None:
    sizes, stop = set(), threading.Event()
    storage.write_bytes("f", b"x" * 1_000_000)

    def read() -> None:
        while not stop.is_set():
            sizes.add(len(storage.read_bytes("f")))

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(20):
        storage.write_bytes("f", b"y" * (1_000_000 + i % 2))
    stop.set()
    reader.join()
    assert sizes <= {1_000_000, 1_000_001}
    assert storage.list("") == ["f"]


def test_a_write_that_fails_leaves_the_old_file_and_no_rest(storage: Storage) -> None:
    storage.write_bytes("a/f", b"old")
    storage.local("a/folder/x").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"cannot write .*folder"):
        storage.write_bytes("a/folder", b"new")
    assert storage.read_bytes("a/f") == b"old"
    assert sorted(os.listdir(storage.local("a"))) == ["f", "folder"]


def test_addresses(tmp_path: Path) -> None:
    assert Storage(f"file://{tmp_path}").local("a") == tmp_path / "a"
    assert Storage(str(tmp_path)).url("a/b") == f"{tmp_path}/a/b"
    with pytest.raises(StorageError, match="nowhere://bucket"):
        Storage("nowhere://bucket")


def test_a_bucket_is_no_local_folder(s3_storage: Storage) -> None:
    with pytest.raises(StorageError, match="is not a local folder"):
        s3_storage.local("a")
