"""Ports of the embedded stack: the wanted one if it is free, another if it is not."""

from __future__ import annotations

import socket


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether nobody listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def choose(wanted: int) -> int:
    """The wanted port, or a free one."""
    if wanted and is_free(wanted) and is_free(wanted, "0.0.0.0"):  # noqa: S104 - asks, does not listen
        return wanted
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
