"""A Ray of our own, as small and as quiet as it gets, and gone afterwards.

Locally everything of Ray's lies in a private folder below the temporary one.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from graildient.errors import Detail, GraildientError, InvalidSettings

log = logging.getLogger("graildient.training")

PREFIX = "gd-ray-"
LOCK = ".lock"
SOCKET_ROOM = 42
"""Longest folder below which the names of Ray's unix sockets (at most 107 characters) still fit."""
KNOCK_SECONDS = 10.0
MEBIBYTE = 1024 * 1024

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune would take Ctrl-C for the end of the search
    "RAY_gcs_server_port_wait_time_s": "120",  # a busy machine is no reason to give up after 30
}


@contextmanager
def ray_session(*, cpus: int, address: str, data_bytes: int) -> Iterator[Path]:
    """Start Ray (or connect to a cluster); yields a local folder for what the session leaves behind.

    A Ray that this process has already is used, and left as it was found.

    `data_bytes`: size of what the trials share. SIGTERM ends the session like an exception would.

    Raises:
        InvalidSettings: nobody answers at the address.
        GraildientError: Ray does not start here.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with private_folder(PREFIX) as scratch, warnings.catch_warnings(), _terminable() as catch_sigterm:
        warnings.simplefilter("ignore")
        import ray

        if ray.is_initialized():
            yield scratch
            return
        try:
            _connect(address, cpus, max(80 * MEBIBYTE, 4 * data_bytes), scratch)
            catch_sigterm()  # after Ray has set its own
            logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
            yield scratch
        finally:
            ray.shutdown()


def _connect(address: str, cpus: int, memory: int, scratch: Path) -> None:
    import ray

    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address:
            _knock(address)
            ray.init(address=address, **quiet)
        else:
            local = {
                "address": "local",
                "num_cpus": cpus,
                "include_dashboard": False,
                "object_store_memory": memory,
                "_temp_dir": str(scratch),
            }
            try:
                ray.init(**local, **quiet)
            except Exception as error:
                # Its daemons sometimes miss each other at the start; what ails the machine shows again.
                log.warning("Ray did not start, once more: %s", error)
                ray.shutdown()
                ray.init(**local, **quiet)
    except Exception as error:  # Ray raises whatever its layers raise
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if address:
            raise InvalidSettings(
                f"no Ray cluster answers at {address}: {reason}",
                hint="leave GRAILDIENT_TRAINING_RAY_ADDRESS empty to search on this machine",
                details=[Detail("ray_address", reason)],
            ) from error
        raise GraildientError(
            f"Ray did not start: {reason}", hint="is there room in memory, /dev/shm and the temporary folder?"
        ) from error


def _knock(address: str) -> None:
    """Ray itself looks for minutes for a host that is not there. Raises OSError."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()


@contextmanager
def private_folder(prefix: str) -> Iterator[Path]:
    """A temporary folder with a short name, removed at the end.

    It is locked as long as this process lives: what a killed one left is removed here by the next.
    (Its name never holds "python3", which KFP's local runner would replace.)
    """
    chosen = tempfile.gettempdir()
    fits = len(chosen) + len(prefix) + 9 <= SOCKET_ROOM and "python3" not in chosen
    base = Path(chosen if fits else "/tmp")  # noqa: S108 - mkdtemp makes it private
    for left in base.glob(f"{prefix}*"):
        with suppress(OSError), open(left / LOCK, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
    try:
        with open(folder / LOCK, "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _terminable() -> Iterator[Callable[[], None]]:
    """Yields a function that lets SIGTERM unwind the stack; Ray's own handler leaves processes behind."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.getsignal(signal.SIGTERM)
    try:
        yield lambda: _handle(leave)
    finally:
        _handle(before)


def _handle(handler: Callable[[int, FrameType | None], object] | int | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL if handler is None else handler)
