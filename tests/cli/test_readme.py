"""The README names every command and every folder, and nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cli.test_cli import commands

TOP = Path(__file__).parents[2]
README = (TOP / "README.md").read_text(encoding="utf-8")


def test_every_command_stands_in_the_table_of_commands() -> None:
    table = README.split("## The command line")[1].split("\n## ")[0]
    named = {word for quoted in re.findall(r"`([^`]+)`", table) for word in quoted.split()}
    for command in commands():
        for word in command.split():
            assert word in named, f"README does not name `graildient {command}`"


def test_every_command_that_it_shows_exists() -> None:
    known = {name.split()[0] for name in commands()}
    shown = set(re.findall(r"(?:^\$ |bin/)graildient ([a-z]+)", README, re.MULTILINE))
    assert shown
    assert shown <= known


def test_every_make_target_that_it_shows_exists() -> None:
    makefile = (TOP / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:\$ |`)make ([a-z-]+)", README)):
        assert re.search(rf"^{target.replace('bench-demo', 'bench-%')}:", makefile, re.MULTILINE), target


def test_every_link_leads_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (TOP / link).exists(), link
