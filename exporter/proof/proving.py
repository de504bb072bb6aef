"""Runs a variant's file on every runtime that it claims, and compares each with the original.

One after the other: what is timed must not share the machine; what is only weighed may, afterwards. A library that is
nowhere to be found is named.
"""

import os
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge_agent.clock import Clock
from edge_agent.errors import BundleError
from edge_agent.scoring.implementations import implementation_of
from edge_agent.scoring.runtime import Runtime
from exporter.models.model import FittedModel, Outputs, Rows
from exporter.proof.cost import Memory, measure_latency
from exporter.proof.emulated import emulated_places
from exporter.proof.gates import parity_refusal
from exporter.proof.intervals import Judge
from exporter.proof.parity import compare
from exporter.proof.places import Answer, Job, NotRunError, Place, PythonPlace, find_places
from exporter.proof.probes import ORDINARY, SEED, Probes
from exporter.proof.report import RuntimeRun
from exporter.proof.runtimes import claims_of, installed_version, open_file
from exporter.proof.ties import StepTies
from exporter.proof.tolerances import tolerance_of


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What there is to prove with besides this process.

    Attributes:
        places: other environments.
        weighs: whether the memory of this environment's runtimes is measured, in a child process.
    """

    places: tuple[Place, ...] = field(default_factory=lambda: find_places(os.environ))
    weighs: bool = True

    @classmethod
    def with_emulated(cls, architectures: Sequence[str]) -> "Surroundings":
        """Add emulated architectures to what is found here; raise UnknownArchitectureError for an unknown one."""
        return cls((*find_places(os.environ), *emulated_places(architectures, os.environ)))


@dataclass(frozen=True, slots=True)
class Proof:
    """A file run everywhere: what each runtime did, and the first one's answers to all probes."""

    runs: tuple[RuntimeRun, ...]
    outputs: Outputs


@dataclass(frozen=True, slots=True)
class Prover:
    """Everything that is the same for all files of one export.

    Attributes:
        judge: of the evaluation rows' truth.
        max_loss: greatest loss of quality that is allowed.
        clock: times what runs in this process.
    """

    model: FittedModel
    probes: Probes
    judge: Judge
    max_loss: float
    clock: Clock
    surroundings: Surroundings

    def prove(self, runtime: str, path: Path, *, is_quantised: bool, is_exact: bool) -> Proof:
        """Run a file on every library that its runtime has.

        Args:
            runtime: of the variant.
            path: its file.
            is_quantised: judged by its quality, and not row by row.
            is_exact: claims to decide as the original even one float32 step off a threshold.

        Raises:
            BundleError, RowError: the first runtime refuses the file or a row.
        """
        runs: list[RuntimeRun] = []
        first: Outputs | None = None
        for implementation, answer in self._answers(runtime, path):
            if isinstance(answer, NotRunError):
                runs.append(RuntimeRun(implementation, not_run=str(answer)))
            elif isinstance(answer, BundleError):
                runs.append(RuntimeRun(implementation, refusal=str(answer)))
            else:
                first = answer.outputs if first is None else first
                runs.append(self._judged(answer, first, is_quantised=is_quantised, is_exact=is_exact))
        if first is None:
            reasons = "; ".join(f"{run.implementation}: {run.not_run or run.refusal}" for run in runs)
            raise BundleError(f"it ran nowhere: {reasons}")
        return Proof(tuple(runs), first)

    def weigh(self, runtime: str, path: Path) -> Memory | None:
        """Measure the memory of a file in this environment's library; None where it is not measured, or not here.

        Raises:
            BundleError: a process of its own cannot score it.
        """
        # What a header takes here says nothing of a microcontroller; it is weighed for one.
        if not self.surroundings.weighs or runtime == "c":
            return None
        implementation = implementation_of(runtime)
        if not implementation:
            return None
        job = Job(runtime, path, self._evaluation, self.model.n_outputs, scores=False, times=False)
        return PythonPlace(runtime, implementation, Path(sys.executable)).run(job).memory

    def _answers(self, runtime: str, path: Path) -> Iterator[tuple[str, Answer | NotRunError | BundleError]]:
        claimed = list(claims_of(runtime))
        # A header is compiled and run by the exporter itself: no device does.
        here = runtime if runtime == "c" else implementation_of(runtime)
        if here:
            yield here, self._run_here(runtime, here, path)
            claimed.remove(here)
        for place in self.surroundings.places:
            if place.runtime == runtime:
                yield place.implementation, self._run_there(place, path)
                claimed = [name for name in claimed if name != place.implementation]
        for name in claimed:
            yield name, NotRunError("not installed here")

    def _run_here(self, runtime: str, implementation: str, path: Path) -> Answer:
        opened = open_file(runtime, path, len(self.model.features), self.model.n_outputs)
        try:
            outputs = score_rows(opened, self.probes.rows)
            latency = measure_latency(opened, self._evaluation, self.clock)
        finally:
            opened.close()
        return Answer(
            outputs=outputs,
            implementation=f"{implementation} {installed_version(implementation)}".strip(),
            where=f"Python {platform.python_version()}, {platform.machine()}",
            memory=None,
            latency=latency,
        )

    def _run_there(self, place: Place, path: Path) -> Answer | NotRunError | BundleError:
        try:
            return place.run(Job(place.runtime, path, self.probes.rows, self.model.n_outputs))
        except (NotRunError, BundleError) as error:
            return error

    @property
    def _evaluation(self) -> Rows:
        return self.probes.rows[self.probes.of("evaluation")]

    def _judged(self, answer: Answer, first: Outputs, *, is_quantised: bool, is_exact: bool) -> RuntimeRun:
        forgives = None if is_quantised or is_exact else StepTies(self.model, SEED, self._evaluation)
        parity = compare(self.model.task, self.probes, answer.outputs, forgives)
        is_evaluation = self.probes.of("evaluation")
        # A row without an answer is a wrong row; parity refuses the variant for it anyway.
        loss = self.judge.loss(self.probes.expected[is_evaluation], np.nan_to_num(answer.outputs[is_evaluation]))
        quality = self.judge.quality(np.nan_to_num(answer.outputs[is_evaluation]))
        return RuntimeRun(
            implementation=answer.implementation,
            where=answer.where,
            refusal=parity_refusal(parity, is_quantised=is_quantised, loss=loss.value, max_loss=self.max_loss),
            parity=parity,
            quality=quality.value,
            from_first=self._distance(answer.outputs, first),
            tolerance=tolerance_of(parity, is_quantised=is_quantised),
            latency=answer.latency,
            memory=answer.memory,
        )

    def _distance(self, outputs: Outputs, first: Outputs) -> float:
        ordinary = self.probes.of(*ORDINARY)
        return float(np.max(np.nan_to_num(np.abs(outputs[ordinary] - first[ordinary])), initial=0.0))


def score_rows(runtime: Runtime, rows: Rows) -> Outputs:
    """Let a runtime answer rows; ``(n, n_features)`` to ``(n, n_outputs)``."""
    return np.asarray(runtime.score_batch(rows.tolist()), dtype=np.float64)
