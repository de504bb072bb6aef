"""Carries out a graph of steps: keeps what is finished and still holds, carries out the rest."""

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from trainer.errors import RunError
from trainer.pipeline.graph import Graph
from trainer.pipeline.journal import Journal
from trainer.pipeline.keys import StepKey, project_digests
from trainer.pipeline.plan import Verdict, judge, plan
from trainer.pipeline.sources import Code
from trainer.pipeline.step import Step
from trainer.project.project import Project


class Bench(Protocol):
    """What steps take their inputs from: what the steps before them made."""

    def put(self, step: str, value: Any) -> None:  # noqa: ANN401 - of each step another
        """Take what a step has just made, in place of what lies on the disk."""
        ...


B = TypeVar("B", bound=Bench)
CodeOf = Callable[[tuple[str, ...]], Code]


class Executor(Generic[B]):
    """The steps of one run, in this process."""

    def __init__(
        self,
        graph: Graph[B],
        bench: B,
        project: Project,
        journal: Journal,
        code_of: CodeOf,
        *,
        before_each: Callable[[], None] | None = None,
    ) -> None:
        """Join what is needed.

        Args:
            graph: the steps.
            bench: hands on what they make.
            project: is read from; a step runs again when that changes which it reads.
            journal: records them.
            code_of: returns the code of modules.
            before_each: is called before a step is carried out; what it raises ends the run.
        """
        self._graph = graph
        self._bench = bench
        self._project = project
        self._journal = journal
        self._code_of = code_of
        self._before_each = before_each
        self._outputs: dict[str, str] = {}

    def run(self) -> None:
        """Take every step in order."""
        for step in self._graph.order:
            self._settle(step)

    def run_one(self, name: str) -> bool:
        """Take one step; those that it rests on must be finished, and hold still.

        Returns:
            Whether it was carried out; else it was kept.

        Raises:
            RunError: there is no such step, or one before it must be carried out first.
        """
        step = self._graph.step(name)
        for before in self.forecast(self._graph.before(name)):
            if before.action != "keep":
                raise RunError(f"step {name!r} rests on {before.step!r}, which must be carried out first: {before.why}")
        return self._settle(step)

    def forecast(self, steps: tuple[Step[B], ...] | None = None) -> tuple[Verdict, ...]:
        """Tell what would become of steps; of all, when none are given."""
        wanted = self._graph.order if steps is None else steps
        for step in wanted:
            record = self._journal.record_of(step.name)
            self._outputs[step.name] = "" if record is None else record.outputs
        keys = {step.name: self._key_of(step) for step in wanted}
        return plan(wanted, keys, {step.name: self._journal.find(step.name) for step in wanted})

    def _settle(self, step: Step[B]) -> bool:
        key = self._key_of(step)
        verdict = judge(step.name, key, self._journal.find(step.name))
        record = self._journal.record_of(step.name)
        is_kept = verdict.action == "keep" and record is not None
        if record is not None and is_kept:
            self._journal.keep(record, verdict.why)
        else:
            if self._before_each is not None:
                self._before_each()
            outcome = self._journal.carry_out(step, key, verdict.why, lambda at: step.do(self._bench, at))
            self._bench.put(step.name, outcome.value)
            record = self._journal.records[-1]
        self._outputs[step.name] = record.outputs
        return not is_kept

    def _key_of(self, step: Step[B]) -> StepKey:
        code = self._code_of(step.modules)
        return StepKey(
            code=code.digest,
            packages=code.packages,
            project=project_digests(self._project, step.reads),
            inputs={name: self._outputs[name] for name in step.after},
            given=dict(step.given(self._bench)),
        )
