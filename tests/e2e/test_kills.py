"""A killed run started again ends as an undisturbed one: same lake, same features, one registered model."""

from __future__ import annotations

import pytest

from graildient.local.workspace import Workspace, synthetic
from tests.e2e.stack import SMALL, Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    stack = Stack(tmp_path_factory.mktemp("undisturbed"))
    assert stack.run("--demo", *SMALL) == 0, stack.log
    return stack


def begun_and_not_ended(stack: Stack, step: str, stage: str) -> bool:
    """True once a step has spoken, and before the stage that it belongs to has ended well."""
    state = Workspace(synthetic(600, 7), stack.root.parent).state() if stack.root.exists() else {}
    return stage not in state and any(e["stage"] == step and e["done"] > 0 for e in stack.events())


@pytest.mark.parametrize(
    ("step", "stage"), [("scrape", "scrape"), ("materialise", "features"), ("search", "pipeline")]
)
def test_killed_and_started_again(
    step: str, stage: str, undisturbed: Stack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stack = Stack(tmp_path_factory.mktemp(stage))
    first = stack.start("--demo", *SMALL)
    stack.kill_when(first, lambda: begun_and_not_ended(stack, step, stage))
    assert stack.processes() == []
    assert stack.models() == {}

    assert stack.run("--demo", *SMALL) == 0, stack.log
    assert stack.lake_rows() == undisturbed.lake_rows()
    assert stack.features() == undisturbed.features()
    assert stack.models() == undisturbed.models()
    assert len(stack.models()) == 1
    assert stack.report["rest"] == undisturbed.report["rest"]
    assert stack.processes() == []
