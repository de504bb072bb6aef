from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.trainer.pipeline.lessons import make_project
from trainer.errors import RunError
from trainer.pipeline.graph import Graph
from trainer.pipeline.keys import StepKey, digest_of, project_digests
from trainer.pipeline.outcome import Outcome
from trainer.pipeline.plan import KEPT, NOT_DONE, Found, judge, plan
from trainer.pipeline.step import Step

WAS = StepKey("code", {"numpy": "2.4", "onnx": "1"}, {"gate": "a"}, {"train": "b"}, {"the champion": "3"})


def step_of(name: str, *after: str) -> Step[Any]:
    return Step(name, after, lambda _bench, _at: Outcome(None), (name,))


@pytest.mark.parametrize(
    ("found", "now", "action", "why"),
    [
        (Found(WAS, is_intact=True), WAS, "keep", KEPT),
        (None, WAS, "run", NOT_DONE),
        (Found(WAS, is_intact=False), WAS, "run", "its files are not what it wrote"),
        (Found(None, is_intact=True), WAS, "run", "an earlier release of fieldloop recorded it"),
        (Found(WAS, is_intact=True), replace(WAS, code="new"), "run", "its code changed"),
        (
            Found(WAS, is_intact=True),
            replace(WAS, packages={"numpy": "2.5", "scipy": "1"}),
            "run",
            "numpy: 2.4, now 2.5; onnx: 1, now none; scipy: none, now 1",
        ),
        (Found(WAS, is_intact=True), replace(WAS, project={"gate": "b"}), "run", "project: gate changed"),
        (Found(WAS, is_intact=True), replace(WAS, inputs={"train": "c"}), "run", "what train made changed"),
        (Found(WAS, is_intact=True), replace(WAS, given={"the champion": "4"}), "run", "the champion changed"),
        (
            Found(WAS, is_intact=False),
            replace(WAS, code="new", inputs={"train": "c"}),
            "run",
            "its code changed; what train made changed",
        ),
    ],
)
def test_a_step_is_kept_when_it_is_finished_its_key_is_what_it_was_and_its_files_are_whole(
    found: Found | None, now: StepKey, action: str, why: str
) -> None:
    verdict = judge("gate", now, found)
    assert (verdict.step, verdict.action) == ("gate", action)
    assert verdict.why.startswith(why)


GRAPH = Graph([step_of("a"), step_of("b", "a"), step_of("c", "a"), step_of("d", "b"), step_of("e", "c", "d")])
WHOLE = Found(WAS, is_intact=True)


@pytest.mark.parametrize(
    ("otherwise", "actions"),
    [
        ({}, "keep keep keep keep keep"),
        ({"a": None}, "run depends depends depends depends"),
        ({"b": None}, "keep run keep depends depends"),
        ({"c": Found(WAS, is_intact=False)}, "keep keep run keep depends"),
        ({"b": None, "d": None}, "keep run keep run depends"),
        ({"e": None}, "keep keep keep keep run"),
        (dict.fromkeys("abcde"), "run run run run run"),
    ],
)
def test_a_plan_says_what_runs_and_what_depends_on_what_that_will_make(
    otherwise: dict[str, Found | None], actions: str
) -> None:
    verdicts = plan(GRAPH.order, dict.fromkeys("abcde", WAS), {**dict.fromkeys("abcde", WHOLE), **otherwise})
    assert [verdict.action for verdict in verdicts] == actions.split()


def test_what_a_step_depends_on_is_named_in_the_plan() -> None:
    verdicts = plan(GRAPH.order, dict.fromkeys("abcde", WAS), {**dict.fromkeys("abcde", WHOLE), "c": None, "b": None})
    assert verdicts[-1].why == "on what c and d will make"


def test_a_graph_puts_every_step_after_those_that_it_reads_and_else_keeps_the_order() -> None:
    graph = Graph([step_of("late", "early"), step_of("other"), step_of("early")])
    assert [step.name for step in graph.order] == ["other", "early", "late"]
    assert [step.name for step in GRAPH.before("e")] == ["a", "b", "c", "d"]
    assert [step.name for step in GRAPH.before("d")] == ["a", "b"]
    assert [step.name for step in GRAPH.behind("c")] == ["e"]
    assert [step.name for step in GRAPH.behind("a")] == ["b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        ([step_of("a", "b")], "step 'a' comes after 'b', which there is not"),
        ([step_of("a"), step_of("a")], "two steps have one name among a, a"),
        ([step_of("a", "b"), step_of("b", "a")], "the steps go in a circle: "),
    ],
)
def test_what_is_no_graph_is_refused(steps: list[Step[Any]], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        Graph(steps)


def test_a_step_that_there_is_not_is_told_with_those_that_there_are() -> None:
    with pytest.raises(RunError, match="there is no step 'f'; there are a, b, c, d, e"):
        GRAPH.step("f")


def test_a_section_or_a_key_of_the_project_has_its_digest() -> None:
    names = ("gate", "gate.max_parity_loss", "signal")
    was = project_digests(make_project(), names)
    now = project_digests(make_project(gate={"min_gain_over_baseline": 0.5}, alerts={"file": "x"}), names)
    assert [name for name in names if was[name] != now[name]] == ["gate"]
    with pytest.raises(KeyError, match="max_loss"):
        project_digests(make_project(), ("gate.max_loss",))


def test_the_order_of_a_mapping_is_nothing_to_its_digest_and_that_of_a_list_is() -> None:
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert digest_of([1, 2]) != digest_of([2, 1])
    assert WAS.digest == replace(WAS, packages={"onnx": "1", "numpy": "2.4"}).digest
