"""Get every program that some tests use beside Python: `make tools`.

They land in ${GRAILDIENT_CACHE:-~/.cache/graildient}/bin and stay there. What cannot be had is named; the
tests that need it are skipped and say so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import chart_tools

S3_SERVER = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"


def s3_server() -> bool:
    """A real S3 server, built by the Go command."""
    program = chart_tools.BIN / "versitygw"
    if os.access(program, os.X_OK):
        print("versitygw: there")
        return True
    if shutil.which("go") is None:
        print("versitygw: cannot be built here, for want of Go", file=sys.stderr)
        return False
    env = {**os.environ, "GOBIN": str(chart_tools.BIN), "CGO_ENABLED": "0"}
    built = subprocess.run(["go", "install", "-trimpath", "-ldflags", "-s -w", S3_SERVER], env=env)
    print(f"versitygw: {'cannot be built here' if built.returncode else 'built'}")
    return built.returncode == 0


if __name__ == "__main__":
    chart_tools.BIN.mkdir(parents=True, exist_ok=True)
    there = s3_server()
    sys.exit(chart_tools.main([]) or not there)
