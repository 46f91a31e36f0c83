"""What a session of Ray needs and leaves, as far as it can be seen without one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from graildient.errors import InvalidSettings
from training.search_ray import private_folder, ray_session


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}", "nonsense"])
def test_no_cluster_at_the_address(address: str, free_port: int) -> None:
    where = address.format(port=free_port)
    started = time.monotonic()
    with (
        pytest.raises(InvalidSettings, match=f"no Ray cluster answers at {where}") as caught,
        ray_session(cpus=1, address=where, data_bytes=0),
    ):
        pytest.fail("there is none")
    assert caught.value.details[0].field == "ray_address"
    assert time.monotonic() - started < 60, "Ray alone looks for it for minutes"


def test_what_a_killed_process_left_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    with private_folder("gd-test-") as mine:
        left = mine.with_name("gd-test-of-a-dead-one")
        left.mkdir()
        (left / ".lock").touch()
        with private_folder("gd-test-") as other:
            assert mine.exists()
            assert other.exists()
            assert not left.exists()
            assert len(str(other)) <= 42
    assert not mine.exists()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "python3.11" / ("long" * 20)))
    with private_folder("gd-test-") as short:
        assert short.parent == Path("/tmp")
