"""Makes each requested variant of a model, proves it against the original, measures its cost, and judges it.

A variant that cannot be made or does not pass a gate is refused with its reason; the others go on.
"""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from edge_agent.clock import Clock, SystemClock
from edge_agent.durable import replace_file
from edge_agent.errors import BundleError, RowError
from exporter.cost import Latency, measure_latency
from exporter.errors import ConversionError, RowsError, UnsupportedError
from exporter.material import Material
from exporter.metrics import is_classification_metric, quality
from exporter.model import FittedModel, Outputs, Rows, Truth
from exporter.parity import Parity, Probes, compare, make_probes, open_file, refusal_of, score_rows
from exporter.report import ExportReport, VariantReport
from exporter.steps import steps_of
from exporter.variants import Form, choose_forms

logger = logging.getLogger(__name__)

# How far a device may be from the original on a golden row: a floor for what other processors round differently, and
# a multiple of what was measured here (relative to `Parity.scale`).
_FLOORS: Final = {False: 1e-5, True: 1e-2}
_FACTORS: Final = {False: 4.0, True: 2.0}


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
    limits: ExportLimits,
    folder: Path,
    clock: Clock | None = None,
) -> ExportReport:
    """Make, prove and judge the requested variants; write the files of those that were made into ``folder``.

    Args:
        model: the fitted model; it is not changed.
        calibration: ``(n, n_features) float32`` real rows that set the ranges of quantised variants.
        evaluation: ``(m, n_features) float32`` rows that the model was not trained on.
        truth: ``(m,)`` truth of the evaluation rows.
        metric: see `exporter.metrics`.
        requested: names of variants, or ``auto`` for all.
        limits: gates of parity, size and latency.
        folder: made when it is not there.
        clock: times single rows; the machine's own unless given.

    Raises:
        UnknownVariantError: a name that nobody can make.
        RowsError: rows do not fit the model, or the metric does not judge its task.
        ModelError: the original refuses its own rows.
    """
    forms = choose_forms(requested)
    _verify_rows(model, calibration, evaluation, truth, metric)
    probes = make_probes(model, evaluation)
    original_quality = quality(metric, truth, probes.expected[: len(evaluation)])
    folder.mkdir(parents=True, exist_ok=True)
    material = Material(model, calibration)
    bench = _Bench(material, probes, truth, metric, original_quality, limits, folder, clock or SystemClock())
    return ExportReport(
        model=" > ".join(type(step).__name__ for _, step in steps_of(model.estimator)),
        metric=metric,
        evaluation_rows=len(evaluation),
        original_quality=original_quality,
        variants=tuple(bench.export(form) for form in forms),
    )


def tolerance_of(parity: Parity, *, is_quantised: bool) -> float:
    """Return the greatest difference that a golden row may show on any device.

    float32: 4 times what was measured, at least 1e-5; int8: twice what was measured, at least 1e-2; the floors are
    relative to the spread of the values for regression.
    """
    floor = _FLOORS[is_quantised] * parity.scale
    return max(floor, _FACTORS[is_quantised] * parity.max_abs_difference)


@dataclass(frozen=True, slots=True)
class _Bench:
    """Everything that is the same for all variants of one export."""

    material: Material
    probes: Probes
    truth: Truth
    metric: str
    original_quality: float
    limits: ExportLimits
    folder: Path
    clock: Clock

    def export(self, form: Form) -> VariantReport:
        """Make one variant and judge it."""
        try:
            data = form.convert(self.material)
            path = self.folder / form.file
            replace_file(path, data)
            got, latency = self._run(form, path)
        except (UnsupportedError, ConversionError, BundleError, RowError) as error:
            logger.info("%s refused: %s", form.name, error)
            return VariantReport(form.name, form.runtime, made=False, accepted=False, reason=str(error))
        return self._judge(form, data, got, latency)

    def _run(self, form: Form, path: Path) -> tuple[Outputs, Latency]:
        runtime = open_file(form.runtime, path, self.material.model)
        try:
            got = score_rows(runtime, self.probes.rows)
            return got, measure_latency(runtime, self.probes.rows[: len(self.truth)], self.clock)
        finally:
            runtime.close()

    def _judge(self, form: Form, data: bytes, got: Outputs, latency: Latency) -> VariantReport:
        parity = compare(self.material.model.task, self.probes, got)
        # A row without an answer is a wrong row; parity refuses the variant for it anyway.
        own_quality = quality(self.metric, self.truth, np.nan_to_num(got[: len(self.truth)]))
        loss = self.original_quality - own_quality
        parity_refusal = refusal_of(
            parity, is_quantised=form.is_quantised, loss=loss, max_loss=self.limits.max_parity_loss
        )
        refusal = parity_refusal or _cost_refusal(len(data), latency, self.limits)
        return VariantReport(
            name=form.name,
            runtime=form.runtime,
            made=True,
            accepted=not refusal,
            refusal=refusal,
            file=form.file,
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            tolerance=tolerance_of(parity, is_quantised=form.is_quantised),
            parity=parity,
            quality=own_quality,
            original_quality=self.original_quality,
            latency=latency,
        )


def _cost_refusal(size_bytes: int, latency: Latency, limits: ExportLimits) -> str:
    """Return why a variant costs too much, or an empty string."""
    if size_bytes > limits.max_size_bytes:
        return f"its file has {size_bytes} bytes, at most {limits.max_size_bytes} are allowed"
    if limits.max_latency_us is not None and latency.median_us > limits.max_latency_us:
        return f"one row takes {latency.median_us:.1f} µs, at most {limits.max_latency_us:g} are allowed"
    return ""


def _verify_rows(model: FittedModel, calibration: Rows, evaluation: Rows, truth: Truth, metric: str) -> None:
    for name, rows in (("calibration", calibration), ("evaluation", evaluation)):
        if rows.ndim != 2 or rows.shape[1] != len(model.features) or len(rows) == 0:  # noqa: PLR2004 - rows, features
            raise RowsError(f"{name} rows of shape {rows.shape}: expected (at least one, {len(model.features)})")
        if np.isinf(rows).any():
            raise RowsError(f"{name} row {int(np.argmax(np.isinf(rows).any(axis=1)))} holds infinity")
    if len(truth) != len(evaluation):
        raise RowsError(f"{len(truth)} truths for {len(evaluation)} evaluation rows")
    if is_classification_metric(metric) != (model.task == "classification"):
        raise RowsError(f"the metric {metric!r} does not judge a {model.task}")
    if model.task == "classification" and not np.isin(truth, np.arange(model.n_outputs)).all():
        raise RowsError(f"truths must be indices of the {model.n_outputs} labels")
