"""The front door: `graildient`, one module a group of commands."""

from graildient.cli.main import app, main

__all__ = ["app", "main"]
