"""Nothing that the supervisor started may outlive it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from graildient.local.ports import choose, is_free
from graildient.local.supervisor import MARK, StageFailed, Supervisor, end_leftovers

FAMILY = """
import subprocess, sys, time
# A daemon in a session of its own, as Ray starts them, and a child that ignores SIGTERM.
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", deaf])
print("started", flush=True)
{then}
"""


def marked(mark: str) -> list[int]:
    """Living processes that carry the mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def wait_for(condition: object, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():  # type: ignore[operator]
            return
        time.sleep(0.05)
    pytest.fail("waited in vain")


@pytest.mark.parametrize("then", ["time.sleep(600)", "sys.exit(3)"], ids=["while it runs", "after it died"])
def test_children_and_their_orphans_end_with_it(tmp_path: Path, then: str) -> None:
    mark = str(tmp_path)
    with Supervisor(mark, tmp_path / "logs") as supervisor:
        child = supervisor.start("family", [sys.executable, "-c", FAMILY.format(then=then)], {})
        wait_for(lambda: "started" in child.last_words())
        if "exit" in then:
            wait_for(lambda: not child.running())
        assert len(marked(mark)) >= 2
    assert marked(mark) == []


def test_what_a_killed_supervisor_left_is_ended_by_the_next(tmp_path: Path) -> None:
    mark = str(tmp_path)
    code = f"""
import sys, time
from pathlib import Path
from graildient.local.supervisor import Supervisor
with Supervisor({mark!r}, Path({mark!r}) / "logs") as s:
    s.start("family", [sys.executable, "-c", {FAMILY.format(then="time.sleep(600)")!r}], {{}})
    time.sleep(600)
"""
    first = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_for(lambda: len(marked(mark)) >= 3)
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert len(marked(mark)) >= 2, "the orphans should still be there, else this test shows nothing"
        assert end_leftovers(mark) >= 2
        assert marked(mark) == []
    finally:
        end_leftovers(mark)


def test_others_are_left_alone(tmp_path: Path) -> None:
    env = os.environ | {MARK: "another workspace", "GRAILDIENT_SUPERVISOR_PID": "1"}
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=env)
    try:
        end_leftovers(str(tmp_path))
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_what_ran_before_is_left_alone(tmp_path: Path) -> None:
    """As a program that supervises only for a while has children of its own (these tests: their servers)."""
    earlier = subprocess.Popen(
        [sys.executable, "-c", FAMILY.format(then="time.sleep(600)")], stdout=subprocess.PIPE
    )
    try:
        assert earlier.stdout is not None
        assert earlier.stdout.readline() == b"started\n"
        below = psutil.Process(earlier.pid).children(recursive=True)
        with Supervisor(str(tmp_path), tmp_path / "logs") as supervisor:
            supervisor.start("stage", [sys.executable, "-c", "import time; time.sleep(600)"], {})
        assert earlier.poll() is None
        assert len(below) == 2
        assert all(process.is_running() for process in below)
    finally:
        for process in below:
            process.kill()
        earlier.kill()
        earlier.communicate()


def test_a_dead_stage_is_told_with_its_last_words(tmp_path: Path) -> None:
    with Supervisor(str(tmp_path), tmp_path / "logs") as supervisor:
        child = supervisor.start("bad", [sys.executable, "-c", "import sys; sys.exit('the lake is dry')"], {})
        wait_for(lambda: not child.running())
        with pytest.raises(StageFailed, match="the lake is dry"):
            supervisor.check([child])


def test_a_taken_port_is_replaced_and_a_free_one_kept() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not is_free(port)
        other = choose(port)
        assert other != port
    assert choose(other) == other
