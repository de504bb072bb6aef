"""Makes each requested variant of a model, proves it against the original, measures its cost, and judges it.

A variant that cannot be made or does not pass a gate is refused with its reason; the others go on.
"""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from edge_agent.clock import Clock, SystemClock
from edge_agent.durable import replace_file
from edge_agent.errors import BundleError, RowError
from exporter.c.compile import MICROCONTROLLERS, measure_microcontroller
from exporter.errors import ConversionError, RowsError, UnsupportedError
from exporter.material import Material
from exporter.models.metrics import is_classification_metric, suits
from exporter.models.model import FittedModel, Rows, Truth
from exporter.models.steps import steps_of
from exporter.programs.ensemble import LEAF
from exporter.programs.program import Columns, Join, Program, Row, Trees, sources_of
from exporter.programs.thresholds import trees_on_row
from exporter.proof.boards import choose_boards
from exporter.proof.cost import gzip_bytes_of
from exporter.proof.gates import cost_refusal, doubt_of
from exporter.proof.intervals import Judge
from exporter.proof.probes import SEED, make_probes
from exporter.proof.proving import Proof, Prover, Surroundings
from exporter.proof.report import ExportReport, Footprint, RuntimeRun, VariantReport
from exporter.proof.sensitivity import matters_of, usual_row
from exporter.variants import Form, choose_forms

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExportLimits:
    """What devices can take.

    Attributes:
        max_latency_us: greatest median of one row on the machine that exports; None: not judged.
        max_parity_loss: greatest quality loss against the original, in units of the metric.
    """

    max_size_bytes: int = 4 << 20
    max_latency_us: float | None = None
    max_parity_loss: float = 0.005


def export_model(  # noqa: PLR0913 - all by name
    model: FittedModel,
    *,
    calibration: Rows,
    evaluation: Rows,
    truth: Truth,
    metric: str,
    requested: tuple[str, ...],
    boards: tuple[str, ...] = (),
    limits: ExportLimits,
    folder: Path,
    clock: Clock | None = None,
    surroundings: Surroundings | None = None,
) -> ExportReport:
    """Make, prove and judge the requested variants; write the files of those that were made into ``folder``.

    Args:
        model: the fitted model; it is not changed.
        calibration: ``(n, n_features) float32`` real rows that set the ranges of quantised variants.
        evaluation: ``(m, n_features) float32`` rows that the model was not trained on, in the order of time.
        truth: ``(m,)`` truth of the evaluation rows.
        metric: see `exporter.models.metrics`.
        requested: names of variants, or ``auto`` for all that one of the boards runs.
        boards: keys of `exporter.proof.boards`; none: all.
        limits: gates of parity, size and latency.
        folder: made when it is not there.
        clock: times single rows; the machine's own unless given.
        surroundings: where files are run besides this process; what is found here unless given.

    Raises:
        UnknownVariantError: a name that nobody can make.
        UnknownBoardError: a board that nobody knows.
        RowsError: rows do not fit the model, or the metric does not judge its task.
        ModelError: the original refuses its own rows.
    """
    forms = choose_forms(requested, boards)
    _verify_rows(model, calibration, evaluation, truth, metric)
    material = Material(model, calibration)
    program, note = _program_of(material)
    known = np.concatenate([calibration, evaluation])
    probes = make_probes(model, evaluation, np.random.default_rng(SEED), known=known, program=program)
    judge = Judge(metric, truth, np.random.default_rng(SEED))
    original = judge.quality(probes.expected[: len(evaluation)])
    folder.mkdir(parents=True, exist_ok=True)
    prover = Prover(
        model, probes, judge, limits.max_parity_loss, clock or SystemClock(), surroundings or Surroundings()
    )
    bench = _Bench(material, program, prover, limits, folder)
    variants = bench.weigh([bench.export(form) for form in forms])
    return ExportReport(
        model=" > ".join(type(step).__name__ for _, step in steps_of(model.estimator)),
        metric=metric,
        evaluation_rows=len(evaluation),
        original_quality=original.value,
        variants=variants,
        original_interval=original,
        max_loss=limits.max_parity_loss,
        probes=dict(Counter(probes.kinds)),
        notes=(*probes.notes, *([note] if note else [])),
        boards=choose_boards(variants, limits.max_parity_loss),
        features=tuple(feature.name for feature in model.features),
        labels=model.labels,
    )


def _program_of(material: Material) -> tuple[Program | None, str]:
    """Return the model as a program, or why its thresholds are not known."""
    try:
        return material.program, ""
    except UnsupportedError as error:
        return None, f"no rows on thresholds, which are not known: {error}"


def decides_on_row(program: Program) -> bool:
    """Tell whether nothing but trees looks at the row, and every node of them at a number of it as it is."""
    given: set[int] = set()
    n_trees = 0
    for place, node in enumerate(program.nodes):
        if isinstance(node.operation, Trees):
            n_trees += 1
        elif isinstance(node.operation, Row | Columns | Join) and given.issuperset(sources_of(node.operation)):
            given.add(place)
        elif not given.isdisjoint(sources_of(node.operation)):
            return False
    looks = [
        (columns[ensemble.feature[ensemble.feature != LEAF]] >= 0).all() for ensemble, columns in trees_on_row(program)
    ]
    return n_trees > 0 and len(looks) == n_trees and all(looks)


@dataclass(frozen=True, slots=True)
class _Bench:
    """Everything that is the same for all variants of one export."""

    material: Material
    program: Program | None
    prover: Prover
    limits: ExportLimits
    folder: Path

    def export(self, form: Form) -> VariantReport:
        """Make one variant and judge it."""
        # Where nothing is computed before the trees, a float32 variant compares with the very thresholds of the model.
        is_exact = not form.is_quantised and self.program is not None and decides_on_row(self.program)
        try:
            data = form.convert(self.material)
            path = self.folder / form.file
            replace_file(path, data)
            proof = self.prover.prove(form.runtime, path, is_quantised=form.is_quantised, is_exact=is_exact)
        except (UnsupportedError, ConversionError, BundleError, RowError) as error:
            logger.info("%s refused: %s", form.name, error)
            return VariantReport(form.name, form.runtime, made=False, accepted=False, reason=str(error))
        return self._judge(form, data, proof)

    def weigh(self, variants: Sequence[VariantReport]) -> tuple[VariantReport, ...]:
        """Put the memory that each takes in this environment behind it; as many at once as there are cores."""
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            return tuple(pool.map(self._weighed, variants))

    def _weighed(self, variant: VariantReport) -> VariantReport:
        if not variant.made:
            return variant
        try:
            memory = self.prover.weigh(variant.runtime, self.folder / variant.file)
        except BundleError as error:
            return VariantReport(variant.name, variant.runtime, made=False, accepted=False, reason=str(error))
        if memory is None:
            return variant
        # This environment's library is the first that runs a file.
        first, *others = variant.runs
        return replace(variant, memory=memory, runs=(replace(first, memory=memory), *others))

    def _judge(self, form: Form, data: bytes, proof: Proof) -> VariantReport:
        runs = tuple(self._explained(run) if run.refusal else run for run in proof.runs)
        first = next(run for run in runs if run.parity is not None)
        judge, probes = self.prover.judge, self.prover.probes
        is_evaluation = probes.of("evaluation")
        outputs = np.nan_to_num(proof.outputs[is_evaluation])
        quality, original = judge.quality(outputs), judge.quality(probes.expected[is_evaluation])
        loss = judge.loss(probes.expected[is_evaluation], outputs)
        refusal = next((_told(run, first) for run in runs if run.refusal), "")
        if not refusal and first.latency is not None:
            refusal = cost_refusal(
                len(data),
                first.latency,
                max_size_bytes=self.limits.max_size_bytes,
                max_latency_us=self.limits.max_latency_us,
            )
        return VariantReport(
            name=form.name,
            runtime=form.runtime,
            made=True,
            accepted=not refusal,
            refusal=refusal,
            is_quantised=form.is_quantised,
            file=form.file,
            size_bytes=len(data),
            gzip_bytes=gzip_bytes_of(data),
            sha256=hashlib.sha256(data).hexdigest(),
            tolerance=max(run.tolerance for run in runs),
            parity=first.parity,
            quality=quality.value,
            original_quality=original.value,
            quality_interval=quality,
            loss=loss,
            doubt="" if refusal else doubt_of(loss, self.limits.max_parity_loss),
            latency=first.latency,
            memory=first.memory,
            runs=runs,
            footprints=_weigh_source(data) if form.runtime == "c" else (),
        )

    def _explained(self, run: RuntimeRun) -> RuntimeRun:
        """Say of the worst rows of a refusal which features matter."""
        if run.parity is None or not run.parity.worst:
            return run
        model, probes = self.prover.model, self.prover.probes
        worst = run.parity.worst
        usual = usual_row(model, probes.rows[probes.of("evaluation")])
        matters = matters_of(model, probes.rows[[row.row for row in worst]], usual)
        explained = tuple(replace(row, matters=columns) for row, columns in zip(worst, matters, strict=True))
        return replace(run, parity=replace(run.parity, worst=explained))


def _weigh_source(header: bytes) -> tuple[Footprint, ...]:
    """Weigh a header for each kind of microcontroller."""
    found = []
    for machine, flags in MICROCONTROLLERS.items():
        size = measure_microcontroller(header, flags)
        if isinstance(size, str):
            found.append(Footprint(machine, size))
        else:
            found.append(Footprint(machine, "", size.flash_bytes, size.ram_bytes, size.stack_bytes))
    return tuple(found)


def _told(run: RuntimeRun, first: RuntimeRun) -> str:
    """Return a refusal, with its runtime where that is not the first one."""
    return run.refusal if run is first else f"on {run.implementation}: {run.refusal}"


def _verify_rows(model: FittedModel, calibration: Rows, evaluation: Rows, truth: Truth, metric: str) -> None:
    for name, rows in (("calibration", calibration), ("evaluation", evaluation)):
        if rows.ndim != 2 or rows.shape[1] != len(model.features) or len(rows) == 0:  # noqa: PLR2004 - rows, features
            raise RowsError(f"{name} rows of shape {rows.shape}: expected (at least one, {len(model.features)})")
        if np.isinf(rows).any():
            raise RowsError(f"{name} row {int(np.argmax(np.isinf(rows).any(axis=1)))} holds infinity")
    if len(truth) != len(evaluation):
        raise RowsError(f"{len(truth)} truths for {len(evaluation)} evaluation rows")
    names_anomalies = is_classification_metric(metric) and metric != "agreement"
    if not suits(metric, model.task):
        raise RowsError(f"the metric {metric!r} does not judge a {model.task}")
    if model.task == "classification" and not np.isin(truth, np.arange(model.n_outputs)).all():
        raise RowsError(f"truths must be indices of the {model.n_outputs} labels")
    if model.task == "anomaly" and names_anomalies and not np.isin(truth, (0, 1)).all():
        raise RowsError("truths must be 1 for an anomaly, else 0")
