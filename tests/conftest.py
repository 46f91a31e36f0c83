"""What the tests of every room share: a storage, the real data, and real servers on loopback.

Servers are started once a session on a free port and stopped with it. A test whose server or data
cannot be had on this machine is skipped and says what to install.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from graildient.pricing.artifact import seal
from graildient.storage import Storage

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"
TOOLS = Path(os.environ.get("GRAILDIENT_CACHE") or Path.home() / ".cache" / "graildient") / "bin"


def find_tool(name: str) -> str | None:
    """A program that `make tools` built, or one on the PATH."""
    return shutil.which(name, path=str(TOOLS)) or shutil.which(name)


def unused_port() -> int:
    """A loopback port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: list[str], log: Path, ready: Callable[[], bool], *, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a process group of its own, up when `ready` says so, and gone afterwards."""
    with open(log, "wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, start_new_session=True
        )
    try:
        until = time.monotonic() + 30
        while not ready():
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"{command[0]} did not come up:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _answers(port: int, send: bytes = b"", expect: bytes = b"") -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
            client.sendall(send)
            return not expect or client.recv(64).startswith(expect)
    except OSError:
        return False


@dataclass(frozen=True)
class S3Server:
    """A real S3 server: its address, and the environment in which clients find their credentials."""

    endpoint: str
    folder: Path
    env: dict[str, str]

    def new_bucket(self) -> str:
        """An empty bucket of its own for one test. (To this server a bucket is a folder.)"""
        name = f"test-{secrets.token_hex(6)}"
        (self.folder / name).mkdir()
        return name


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """An empty local root."""
    return Storage(str(tmp_path / "root"))


@pytest.fixture
def free_port() -> int:
    return unused_port()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real listings."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no real listings: ../shared/data is absent")
    return SHARED_DATA


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    program = find_tool("versitygw")
    if program is None:
        pytest.skip("no S3 server: versitygw is neither built (make tools) nor on the PATH")
    home = tmp_path_factory.mktemp("s3")
    folder = home / "buckets"
    folder.mkdir()
    port = unused_port()
    command = [program, "--access", "tests", "--secret", "only-for-tests", "--port", f"127.0.0.1:{port}"]
    env = {
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "only-for-tests",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        # Nothing of whoever runs the tests.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    with running([*command, "posix", str(folder)], home / "log", lambda: _answers(port)):
        yield S3Server(f"http://127.0.0.1:{port}", folder, env)


@pytest.fixture
def s3_env(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The S3 server, with its credentials in this process' environment."""
    import s3fs

    # Clients are kept by address: one that a test made with other credentials would come back.
    s3fs.S3FileSystem.clear_instance_cache()
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return s3_server


@pytest.fixture
def s3_storage(s3_env: S3Server) -> Storage:
    """An empty root in a bucket of its own."""
    return Storage(f"s3://{s3_env.new_bucket()}/root", endpoint=s3_env.endpoint)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = find_tool("redis-server")
    if program is None:
        pytest.skip("no Redis: install the Debian package redis-server")
    home = tmp_path_factory.mktemp("redis")
    port = unused_port()
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(home)]
    with running(
        [*command, "--save", "", "--appendonly", "no"],
        home / "log",
        lambda: _answers(port, b"PING\r\n", b"+PONG"),
    ):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """An empty database of a real Redis."""
    import redis

    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture
def make_artifact(tmp_path: Path) -> Callable[..., Path]:
    """Makes a small sealed artifact of a version; its files hold no real model."""
    when = datetime(2021, 1, 31, tzinfo=UTC)
    made = iter(range(1_000_000))

    def make(
        version: str, trees: bytes = b"trees", *, name: str = "price", created_at: datetime = when
    ) -> Path:
        folder = tmp_path / "made" / str(next(made))
        (folder / "text").mkdir(parents=True)
        (folder / "price.cbm").write_bytes(trees)
        (folder / "text" / "weights.npz").write_bytes(b"weights")
        seal(
            folder,
            name=name,
            version=version,
            created_at=created_at,
            code_version="0.1.0+0123456789",
            training_set_sha256="ab" * 32,
            training_from=when,
            training_until=when,
            as_of=when,
            rows=1,
            features=[],
            settings={},
            params={},
            metrics={"rmsle": 0.5},
        )
        return folder

    return make


def pytest_runtest_setup() -> None:
    """Importing Feast while tests are collected must not reach the programs they start."""
    for name in [n for n in os.environ if n.startswith("PROMETHEUS_MULTIPROC")]:
        del os.environ[name]
