"""`graildient up`: marketplace, scrape, features, pipeline, server, and the price of a sample listing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from graildient.code_version import code_version
from graildient.errors import GraildientError
from graildient.local.display import Display, Stage
from graildient.local.ports import choose
from graildient.local.rounds import Rounds
from graildient.local.supervisor import Child, StageFailed, Supervisor, python
from graildient.local.workspace import Source, Workspace
from graildient.progress import ENV as PROGRESS_ENV

SAMPLE: dict[str, Any] = {
    "title": "Vintage Carhartt Detroit jacket, faded brown duck canvas",
    "designers": ["Carhartt", "Vintage"],
    "department": "menswear",
    "category": "outerwear",
    "subcategory": "light_jackets",
    "size": "l",
    "color": "brown",
    "condition": "gently_used",
    "photo_count": 6,
    "description": "Blanket lined, great fade, no holes. Fits true to size.",
}
"""Priced when the source has nothing for sale, as a file of sold listings has not."""


@dataclass(frozen=True)
class UpOptions:
    """What `graildient up` was asked for."""

    source: Source
    demo: bool = False
    fresh: bool = False
    http_port: int = 8080
    grpc_port: int = 8081
    marketplace_port: int = 8100
    settings: tuple[str, ...] = ()
    home: Path | None = None
    every: float | None = None
    """Seconds from round to round; None: one round."""


@dataclass
class UpReport:
    """What it did; written to `<workspace>/up-report.json`."""

    source: str
    stages: dict[str, float] = field(default_factory=dict)
    steps: dict[str, float] = field(default_factory=dict)
    reused: list[str] = field(default_factory=list)
    peak_rss_mib: float = 0.0
    addresses: dict[str, str] = field(default_factory=dict)
    model: str = ""
    rest: dict[str, Any] = field(default_factory=dict)
    grpc: dict[str, Any] = field(default_factory=dict)


def _stop(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def _stop_on_signals() -> Iterator[None]:
    """SIGTERM and a closed terminal end `up` as Ctrl-C does: with everything below it.

    What whoever started it had ignored stays so, as `nohup` wants.
    """
    heard = [s for s in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) != signal.SIG_IGN]
    before = {s: signal.signal(s, _stop) for s in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Up:
    """One run of the embedded stack."""

    def __init__(self, options: UpOptions, console: Console) -> None:
        self.options = options
        self.console = console
        self.workspace = Workspace(options.source, options.home)
        self.report = UpReport(source=options.source.label)
        self._steady: list[Child] = []
        self._env: dict[str, str] = {}
        self._ready = self.workspace.root / "ready"

    def run(self) -> UpReport:
        """Run until the price is answered (`demo`) or until interrupted.

        Raises:
            StageFailed: a stage ended badly; everything that was started is ended first.
        """
        with self.workspace.lock(), _stop_on_signals():
            progress = self.workspace.root / "progress.jsonl"
            self._env = {
                **self.workspace.env,
                "GRAILDIENT_SCRAPER_REQUESTS_PER_SECOND": "1000",  # our own server on loopback
                PROGRESS_ENV: str(progress),
            }
            display = Display(
                [
                    Stage("marketplace", "Stand-in marketplace"),
                    Stage("scrape", "Scrape sold listings into the lake"),
                    Stage("features", "Features: aggregates, online store"),
                    Stage("pipeline", "Pipeline: search, train, gate, register"),
                    Stage("serve", "Model server: REST and gRPC"),
                    Stage("ask", "Ask for a price"),
                ],
                self.console,
                progress,
                f"[bold]graildient up[/bold]  {self.options.source.label}  →  {_short(self.workspace.root)}",
            )
            with Supervisor(str(self.workspace.root), self.workspace.root / "logs") as supervisor:
                with display.show():
                    self._stages(supervisor, display)
                self.report.peak_rss_mib = round(supervisor.peak_rss / 2**20, 1)
                for stage in display.stages.values():
                    self.report.stages[stage.name] = round(stage.seconds, 2)
                    for part in stage.parts.values():
                        self.report.steps[part.name] = round(part.last - part.first, 2)
                    if stage.state == "reused":
                        self.report.reused.append(stage.name)
                (self.workspace.root / "up-report.json").write_text(json.dumps(asdict(self.report), indent=1))
                self.workspace.make_current()
                self._farewell()
                if not self.options.demo:
                    self._stay(supervisor)
        return self.report

    # ---- stages ---------------------------------------------------------------------------

    def _stages(self, supervisor: Supervisor, display: Display) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(display.poll)
            marketplace = self._marketplace(supervisor, display)
            lake_key = self.options.source.name
            self._once(supervisor, display, "scrape", lake_key, ["scrape"])
            feature_key = f"{lake_key} {code_version()}"
            self._once(supervisor, display, "features", feature_key, ["features", "refresh"])
            settings = self._settings()
            settings_key = hashlib.sha256(
                json.dumps([settings, _training_env(self._env)]).encode()
            ).hexdigest()[:10]
            run = ["pipeline", "run", *settings]
            self._once(supervisor, display, "pipeline", f"{feature_key} {settings_key}", run)
            server = self._server(supervisor, display)
            self._steady = [marketplace, server]
            self._ask(display)

    def _once(
        self, supervisor: Supervisor, display: Display, name: str, key: str, command: list[str]
    ) -> None:
        """Run a stage unless it ended well on the same inputs before."""
        with display.stage(name) as stage:
            if not self.options.fresh and self.workspace.state().get(name) == key:
                stage.state, stage.note = "reused", "as before"
                return
            self._work(supervisor, name, command)
            self.workspace.finished(name, key)

    def _work(self, supervisor: Supervisor, name: str, command: list[str]) -> None:
        child = supervisor.start(name, python("-m", "graildient", *command), self._env)
        while child.running():
            time.sleep(0.05)
            supervisor.check(self._steady)
        if child.process.returncode != 0:
            raise StageFailed(
                f"{name} failed with code {child.process.returncode}\n{child.last_words()}",
                hint=f"the whole log: {_short(child.log)}",
            )

    def _marketplace(self, supervisor: Supervisor, display: Display) -> Child:
        port = choose(self.options.marketplace_port)
        with display.stage("marketplace") as stage:
            command = python("-m", "graildient", "marketplace", *self.options.source.marketplace_args)
            command += ["--port", str(port), "--ready-file", str(self._fresh_file("marketplace"))]
            child = supervisor.start("marketplace", command, self._env)
            ready = self._await(child, "marketplace")
            url = str(ready["url"])
            stage.note = url + _replaced(self.options.marketplace_port, port)
        self.report.addresses["marketplace"] = url
        self._env |= {"GRAILDIENT_SCRAPER_BASE_URL": url}
        self._steady = [child]
        return child

    def _server(self, supervisor: Supervisor, display: Display) -> Child:
        ports = {"HTTP": choose(self.options.http_port), "GRPC": choose(self.options.grpc_port)}
        with display.stage("serve") as stage:
            env = self._env | {f"GRAILDIENT_SERVING_{k}_PORT": str(v) for k, v in ports.items()}
            env["GRAILDIENT_SERVING_HOST"] = "127.0.0.1"  # a laptop's demo is for the laptop
            command = python("-m", "graildient", "serve", "--ready-file", str(self._fresh_file("serve")))
            child = supervisor.start("serve", command, env)
            ready = self._await(child, "serve")
            http, grpc = int(ready["http_port"]), int(ready["grpc_port"])
            stage.note = (
                f"model {ready['model_version']}"
                + _replaced(self.options.http_port, http)
                + _replaced(self.options.grpc_port, grpc)
            )
        self.report.model = str(ready["model_version"])
        self.report.addresses |= {"rest": f"http://127.0.0.1:{http}", "grpc": f"127.0.0.1:{grpc}"}
        return child

    def _ask(self, display: Display) -> None:
        from serving.client import ask_grpc, ask_rest

        with display.stage("ask") as stage:
            listing = self._sample()
            self.report.rest = _retry(lambda: ask_rest(self.report.addresses["rest"], listing))
            self.report.grpc = _retry(lambda: ask_grpc(self.report.addresses["grpc"], listing))
            if self.report.rest["price"] != self.report.grpc["price"]:
                raise StageFailed(
                    f"REST says {self.report.rest['price']}, gRPC says {self.report.grpc['price']}"
                )
            self.report.rest = {"title": listing["title"]} | self.report.rest
            stage.note = f"${self.report.rest['price']:,.0f}"

    def _sample(self) -> dict[str, Any]:
        """A listing that is for sale at the source now, or the fixed one."""
        from graildient.parsing import parse_hit
        from graildient.settings import ScraperSettings, load

        index = load(ScraperSettings).active_index
        query = {"requests": [{"indexName": index, "params": "query=&hitsPerPage=1"}]}
        request = urllib.request.Request(  # noqa: S310 - our own loopback server
            self.report.addresses["marketplace"] + "/1/indexes/*/queries", data=json.dumps(query).encode()
        )
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            hits = json.load(response)["results"][0]["hits"]
        if not hits:
            return SAMPLE
        known = parse_hit(hits[0]).model_dump(mode="json", exclude_none=True)
        return {k: v for k, v in known.items() if k in SAMPLE}

    # ---- the rest -------------------------------------------------------------------------

    def _fresh_file(self, name: str) -> Path:
        self._ready.mkdir(exist_ok=True)
        path = self._ready / f"{name}.json"
        path.unlink(missing_ok=True)
        return path

    def _await(self, child: Child, name: str, seconds: float = 180) -> dict[str, Any]:
        """Wait for a child's ready file."""
        path = self._ready / f"{name}.json"
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError):
                loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                return loaded
            if not child.running():
                raise StageFailed(
                    f"{name} ended with code {child.process.returncode}\n{child.last_words()}",
                    hint=f"the whole log: {_short(child.log)}",
                )
            time.sleep(0.05)
        raise StageFailed(f"{name} was not ready after {seconds:.0f} s\n{child.last_words()}")

    def _farewell(self) -> None:
        rest, grpc = self.report.rest, self.report.grpc
        rest_url, grpc_url = self.report.addresses["rest"], self.report.addresses["grpc"]
        say: Callable[[str], None] = lambda text: self.console.print(text, highlight=False, soft_wrap=True)  # noqa: E731
        say("")
        say(f"[bold]{rest['title']}[/bold]")
        for name, answer in (("REST", rest), ("gRPC", grpc)):
            say(
                f"  {name}  [bold green]${answer['price']:,.2f}[/bold green]"
                f"   80 % range ${answer['low']:,.2f} to ${answer['high']:,.2f}"
                f"   model {answer['model_version']}, as of {answer['as_of']}"
            )
        say("")
        say("Open")
        say(f"  {rest_url}/              the service")
        say(f"  {rest_url}/docs          its REST description; gRPC on {grpc_url}")
        say(f"  {rest_url}/metrics       its metrics")
        say(f"  {self.report.addresses['marketplace']}/              the stand-in marketplace")
        say("Try")
        me = _program()
        say(f'  {me} predict --title "Rick Owens Ramones" --designers "Rick Owens" --url {rest_url}')
        say(f"  {me} evaluate")
        say(f"  {me} score FILE")
        say(f"  {me} models list")
        seconds = sum(self.report.stages.values())
        memory = f"{self.report.peak_rss_mib:,.0f} MiB"
        say(f"\n{seconds:.0f} s in all, at most {memory} resident (sum over processes)")

    def _settings(self) -> list[str]:
        return [word for item in self.options.settings for word in ("--set", item)]

    def _rounds(self, supervisor: Supervisor, seconds: float) -> Rounds:
        commands = {
            "scrape": ["scrape"],
            "features": ["features", "refresh"],
            "pipeline": ["pipeline", "run", *self._settings()],
        }
        return Rounds(
            seconds,
            commands,
            lambda name, command: self._work(supervisor, name, command),
            lambda: supervisor.check(self._steady),
            self.workspace.root,
            self.console,
        )

    def _stay(self, supervisor: Supervisor) -> None:
        self.console.print("\nServing. Ctrl-C stops everything.", highlight=False)
        try:
            if self.options.every is not None:
                self._rounds(supervisor, self.options.every).run()
            while True:
                time.sleep(0.5)
                supervisor.check(self._steady)
        except KeyboardInterrupt:
            self.console.print("Stopping.", highlight=False)


def _training_env(env: Mapping[str, str]) -> dict[str, str]:
    """What of the environment a training depends on, as the child processes see it."""
    seen = {**os.environ, **env}
    return {
        k: v
        for k, v in sorted(seen.items())
        if k.startswith(("GRAILDIENT_TRAINING_", "GRAILDIENT_FEATURES_"))
    }


def _replaced(wanted: int, got: int) -> str:
    return f"  (port {wanted} is taken, so {got})" if wanted and wanted != got else ""


def _program() -> str:
    """How this program was called, so that what is shown can be typed."""
    if Path(sys.argv[0]).name != "graildient":
        return f"{Path(sys.executable).name} -m graildient"
    return sys.argv[0] if shutil.which("graildient") is None else "graildient"


def _short(path: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def _retry(call: Callable[[], dict[str, Any]], tries: int = 20) -> dict[str, Any]:
    for left in range(tries, 0, -1):
        try:
            return call()
        except (GraildientError, OSError):
            if left == 1:
                raise
            time.sleep(0.25)
    raise AssertionError("unreachable")


def up(options: UpOptions, console: Console) -> UpReport:
    """Run the embedded stack; see :class:`Up`."""
    return Up(options, console).run()
