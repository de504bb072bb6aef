"""What a task of the package does, with a command in place of ``fieldloop`` that says what it is told to."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer.pipeline.kubeflow.task import carry_out

RECORD: dict[str, Any] = {"outputs": "abc", "artefacts": [{"path": "model.skops", "sha256": "0" * 64}]}
Tool = Callable[..., Path]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Put a command called fieldloop first; it writes down how it was called."""

    def make(said: object, code: int = 0) -> Path:
        calls = tmp_path / "calls"
        path = tmp_path / "fieldloop"
        text = "" if said is None else f"a word first\n{json.dumps(said)}"
        path.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" >{calls}\ncat <<'END'\n{text}\nEND\nexit {code}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return calls

    return make


def told(*, ran: bool = True, end: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"run_id": "r1", "ran": ran, "record": RECORD, "end": end}


def test_the_first_step_begins_a_run_and_hands_on_what_it_made(tool: Tool) -> None:
    calls = tool(told())
    run, outcome, made = carry_out("extract", "/data/pump", "", "schedule", "Monday")
    assert (run, outcome) == ("r1", "carried out")
    assert made == {"run": "r1", "step": "extract", "outputs": "abc", "files": RECORD["artefacts"]}
    assert calls.read_text().splitlines() == [
        *("pipeline", "step", "extract", "--project", "/data/pump"),
        *("--trigger", "schedule", "--reason", "Monday", "--executor", "Kubeflow Pipelines", "--json"),
    ]


def test_a_step_of_a_run_names_it_and_says_that_it_was_kept(tool: Tool) -> None:
    calls = tool(told(ran=False))
    assert carry_out("train", "/data/pump", "r1", "", "")[1].startswith("kept")
    assert calls.read_text().splitlines()[5:7] == ["--run", "r1"]


@pytest.mark.parametrize(
    ("promoted", "waits", "code", "words"),
    [
        (True, False, 0, "version 3 promoted: why"),
        (False, True, 0, "version 3 waits for approval: why"),
        # A refusal is a result: an engine that tried again would be refused again.
        (False, False, 4, "version 3 refused: why"),
    ],
)
def test_the_last_step_says_what_came_of_the_run(
    code: int, words: str, tool: Tool, *, promoted: bool, waits: bool
) -> None:
    tool(told(end={"promoted": promoted, "waits": waits, "version": 3, "reason": "why"}), code)
    assert carry_out("promote", "/data/pump", "r1", "", "")[1] == words


@pytest.mark.parametrize("code", [1, 2, 3, 5, 6, 10, 137])
def test_a_step_that_failed_fails_the_task(code: int, tool: Tool) -> None:
    tool(told(), code)
    with pytest.raises(RuntimeError, match=f"ended with code {code}"):
        carry_out("train", "/data/pump", "r1", "", "")


def test_a_step_that_says_nothing_fails_the_task(tool: Tool) -> None:
    tool(None)
    with pytest.raises(RuntimeError, match="ended with code 0"):
        carry_out("train", "/data/pump", "r1", "", "")
