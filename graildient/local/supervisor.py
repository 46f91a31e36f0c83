"""Child processes that never outlive their supervisor, however it ends.

Three nets, because each has a hole: the supervisor is a *child subreaper* (Linux), so that
orphans of its children (Ray's daemons, a pipeline's steps) become its own and are ended with
them; each supervised child asks the kernel to be told when its parent dies; and every process
below carries the mark of its workspace in its environment, by which the next start finds what
a SIGKILL left behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from graildient.errors import GraildientError

MARK = "GRAILDIENT_SUPERVISED"
SUPERVISOR = "GRAILDIENT_SUPERVISOR_PID"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37
GRACE_SECONDS = 8.0


class StageFailed(GraildientError):
    """A stage ended badly; the message carries the last words of its log."""

    code = "stage_failed"


def _prctl(option: int, value: object) -> None:
    with contextlib.suppress(OSError, AttributeError):  # not Linux: the other nets remain
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _is_subreaper() -> bool:
    found = ctypes.c_int(0)
    _prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(found))
    return bool(found.value)


def die_with_parent() -> None:
    """Called first thing in a supervised child: SIGTERM when the supervisor dies, the group with it."""
    parent = os.environ.get(SUPERVISOR)
    if parent is None or os.getppid() != int(parent):
        return

    def end(_signal: int, _frame: object) -> None:
        if os.getppid() != int(parent):  # nobody is left to end our own children
            os.killpg(0, signal.SIGKILL)
        sys.exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)  # a stage that ends itself better (scrape, serve) sets its own later
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it died in between
        os.kill(os.getpid(), signal.SIGTERM)


@dataclass
class Child:
    """A started stage."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    started: float = field(default_factory=time.monotonic)

    def running(self) -> bool:
        return self.process.poll() is None

    def last_words(self, lines: int = 12) -> str:
        """The end of the log, for an error message."""
        with contextlib.suppress(OSError):
            text = self.log.read_text(encoding="utf-8", errors="replace").strip()
            return "\n".join(text.splitlines()[-lines:])
        return ""


class Supervisor:
    """Starts children, watches them and their memory, ends all of them.

    What the process had started before is not its business.

    Args:
        mark: names the workspace; what an earlier supervisor of the same mark left is ended first.
        logs: folder of one log file a child.
    """

    def __init__(self, mark: str, logs: Path) -> None:
        self.mark = mark
        self.logs = logs
        self.children: list[Child] = []
        self.peak_rss = 0
        self._stop = threading.Event()
        self._others: list[psutil.Process] = []
        self._was_subreaper = False
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Supervisor:
        self._others = psutil.Process().children()
        self._was_subreaper = _is_subreaper()
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        end_leftovers(self.mark)
        threading.Thread(target=self._watch_memory, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.end_all()
        _prctl(_PR_SET_CHILD_SUBREAPER, int(self._was_subreaper))

    def start(self, name: str, command: list[str], env: Mapping[str, str]) -> Child:
        """Start one child in a session of its own, its output in `<logs>/<name>.log`."""
        log = self.logs / f"{name}.log"
        # Whoever imported Feast before us may have turned Prometheus' multi-process mode on for all below.
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PROMETHEUS_MULTIPROC")}
        full = {**clean, **env, MARK: self.mark, SUPERVISOR: str(os.getpid()), "PYTHONUNBUFFERED": "1"}
        with open(log, "wb") as out:
            process = subprocess.Popen(
                command, env=full, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        child = Child(name, process, log)
        self.children.append(child)
        return child

    def check(self, children: Iterable[Child]) -> None:
        """Raises StageFailed when one of those that should stay up has ended."""
        for child in children:
            if not child.running():
                raise StageFailed(
                    f"{child.name} ended with code {child.process.returncode}\n{child.last_words()}"
                )

    def _watch_memory(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(0.5):
            total = 0
            for process in [me, *self._descendants()]:
                with contextlib.suppress(psutil.Error):
                    total += process.memory_info().rss
            self.peak_rss = max(self.peak_rss, total)

    def end_all(self) -> None:
        """SIGTERM to each child, newest first, then SIGKILL to everything that is left below us."""
        for child in reversed(self.children):
            with contextlib.suppress(ProcessLookupError):
                child.process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for child in self.children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline - time.monotonic()))
        # A killed parent hands its own children to us, so look again until there is nobody.
        for _ in range(20):
            left = self._descendants()
            if not left:
                break
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=1)
        end_leftovers(self.mark)

    def _descendants(self) -> list[psutil.Process]:
        """Living processes below us that we started, or that those did."""
        found: list[psutil.Process] = []
        for child in psutil.Process().children():
            if child in self._others:
                continue
            with contextlib.suppress(psutil.Error):
                found += [p for p in [child, *child.children(recursive=True)] if _alive(p.pid)]
        return found


def end_leftovers(mark: str) -> int:
    """End processes of this workspace whose supervisor is gone or is us. Returns how many there were."""
    left: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid():
                continue
            env = process.environ()
            if env.get(MARK) != mark:
                continue
            supervisor = int(env.get(SUPERVISOR, "0"))
            if supervisor == os.getpid() or not _alive(supervisor):
                process.kill()
                left.append(process)
        except (psutil.Error, ValueError, OSError):
            continue
    psutil.wait_procs(left, timeout=5)
    return len(left)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def python(*args: str) -> list[str]:
    """A command line for this very interpreter."""
    return [sys.executable, *args]
