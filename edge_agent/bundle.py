"""The bundle format: what a device accepts, written down in one manifest.

A bundle is a folder with ``manifest.json``, one file for each variant and a bill of materials; in the update repository
its files are the targets ``<name>/<version>/<file>``, and `edge_agent.bundle_file` reads them packed in one file. This
module parses and checks a manifest, and states every limit of a bundle. It trusts nobody: signatures are the updater's,
this is what must hold even for a manifest that was signed.
"""

import itertools
import re
import sys
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from broker.messages import MAX_BYTES, BundleRef
from broker.topics import Channel
from edge_agent.errors import BundleError
from edge_agent.raw_signal import Signal, columns_of, feature_names, signal_problems

FORMAT: Final = 1
MANIFEST_NAME: Final = "manifest.json"
SBOM_NAME: Final = "sbom.cdx.json"

# The limits of a bundle. Each is checked before anything is read, or allocated, in proportion to what it bounds.
MAX_MANIFEST_BYTES: Final = 4 << 20
MAX_VARIANT_BYTES: Final = 256 << 20
MAX_SBOM_BYTES: Final = 1 << 20
MAX_BUNDLE_BYTES: Final = 1 << 30
MAX_VARIANTS: Final = 16
# The manifest, its variants, the bill of materials.
MAX_FILES: Final = MAX_VARIANTS + 2
# Of the JSON in a bundle: CycloneDX nests deeper than a manifest; a list of numbers has as many values as commas.
MAX_JSON_DEPTH: Final = 32
MAX_JSON_VALUES: Final = 1 << 19
# Beyond it a double is infinite.
MAX_NUMBER: Final = sys.float_info.max
MAX_COUNT: Final = 2**53
MAX_TRIAL_ROWS: Final = 1_000_000
MAX_TRIAL_STARTS: Final = 1000
MAX_DURATION: Final = 1e9
# As many bins as `broker.messages.Counts` holds.
MAX_BINS: Final = 1024

# A count below 2**32 as MessagePack; and what a window needs beside its histograms: names, times, the latency sketch.
_COUNT_BYTES: Final = 5
_WINDOW_ENVELOPE_BYTES: Final = 32 << 10

# The lookahead: `$` alone lets a line end follow.
FileName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9._-]*(?!\n)$")]
BundleName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(?!\n)$")]
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Text = Annotated[str, Meta(max_length=256)]
Rule = Literal["flag", "refuse"]
# An anomaly detector answers one number as a regression does: its decision, below 0 for an anomaly.
Task = Literal["classification", "regression", "anomaly"]
RuntimeName = Literal["onnx", "tflite", "native"]
Sha256 = Annotated[str, Meta(min_length=64, max_length=64, pattern="^[0-9a-f]{64}$")]
Number = Annotated[float, Meta(ge=-MAX_NUMBER, le=MAX_NUMBER)]
Numbers = Annotated[tuple[Number, ...], Meta(max_length=65536)]
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Counts = Annotated[tuple[Count, ...], Meta(max_length=4096)]
Blocks = Annotated[tuple[Counts, ...], Meta(max_length=256)]


class _Part(Struct, frozen=True):
    """Base of the manifest's parts: unknown fields of a newer minor writer are ignored."""


class Feature(_Part, frozen=True):
    """One input of the model.

    Attributes:
        dtype: ``float32``, or ``category`` (a row carries its name; the model gets its index in `categories`).
        unit: SI symbol or the source's own word; empty when there is none.
        valid_min, valid_max: values outside are counted, and treated by `on_out_of_range`.
        on_missing: what happens to a row without this value: ``flag`` (the model gets NaN) or ``refuse``.
    """

    name: Name
    dtype: Literal["float32", "category"] = "float32"
    unit: Text = ""
    valid_min: Number | None = None
    valid_max: Number | None = None
    categories: Annotated[tuple[Text, ...], Meta(max_length=65536)] = ()
    on_missing: Rule = "refuse"
    on_out_of_range: Rule = "flag"


class FeatureReference(_Part, frozen=True):
    """How a feature was distributed in training, taken from contiguous blocks.

    Attributes:
        edges: inner bin edges, ascending; n edges make n + 1 bins, the first and last open-ended. A value x is in
            bin ``bisect_right(edges, x)``. For categories the edges are 0.5, 1.5, …
        blocks: counts by block, ``(n_blocks, n_edges + 1)``: their spread says what is usual.
        missing: rows without a value, over all blocks.
    """

    edges: Numbers
    blocks: Blocks
    missing: Count = 0


class LinearModel(_Part, frozen=True):
    """The simple second model: linear over standardised features; NaN counts as the mean.

    Attributes:
        means, scales: ``(n_features,)``.
        coefficients: ``(n_outputs, n_features)``: one row a label (arg max decides), or one row for regression.
        intercepts: ``(n_outputs,)``.
    """

    means: Numbers
    scales: Numbers
    coefficients: Annotated[tuple[Numbers, ...], Meta(max_length=4096)]
    intercepts: Numbers


class Estimation(_Part, frozen=True):
    """What is needed to estimate quality without labels; all from contiguous blocks that were not trained on.

    Attributes:
        second_model: its agreement with the model is one bit of evidence.
        disagreement_edges: regression: inner edges of |prediction - second model|; empty for classification.
        quality: by agreement bin (as ``TelemetryWindow.agreement``): share of correct rows, or mean absolute error.
        rows: by agreement bin: how many rows stand behind `quality`.
        expected_quality: accuracy, or mean absolute error, over all those rows.
        block_quality: the same by block: their spread says what is usual.
    """

    second_model: LinearModel
    disagreement_edges: Numbers
    quality: Numbers
    rows: Annotated[tuple[Count, ...], Meta(max_length=65536)]
    expected_quality: Number
    block_quality: Numbers


class GoldenRow(_Part, frozen=True):
    """A row with what the model must answer; None stands for missing.

    Attributes:
        expected: probabilities by label, or one value, of the original model.
    """

    features: Annotated[tuple[Number | None, ...], Meta(max_length=4096)]
    expected: Numbers


class LibraryTolerance(_Part, frozen=True):
    """Greatest allowed difference from `GoldenRow.expected` with one library, for example ``ai-edge-litert``."""

    library: Name
    tolerance: Annotated[float, Meta(ge=0)]


class Variant(_Part, frozen=True):
    """One executable form of the model.

    Attributes:
        name: ``onnx-fp32``, ``onnx-int8``, ``tflite-fp32``, ``tflite-int8``.
        runtime: the adapter of ``edge_agent/scoring`` that runs it.
        file: name of its file in the bundle's folder.
        tolerance: greatest allowed difference from `GoldenRow.expected` on any device.
        tolerances: the same by library, where it was proved on that library: closer than `tolerance`, so that one that
            computes something else is noticed.
        memory_bytes: greatest resident size of a process that loads runtime and file and scores, above bare Python.
        loss: what `quality` lacks against the original model's; what it has over it is chance and counts as 0.
        max_loss: qualities that differ by no more are as good as each other.
        quality: of this variant on the evaluation rows, by the manifest's metric.
        latency_us: median of one row where it was exported; to compare variants, not boards.
    """

    name: Name
    runtime: RuntimeName
    file: FileName
    size_bytes: Annotated[int, Meta(ge=1, le=MAX_VARIANT_BYTES)]
    sha256: Sha256
    tolerance: Annotated[float, Meta(ge=0, le=MAX_NUMBER)]
    quality: Number
    latency_us: Annotated[float, Meta(ge=0, le=MAX_DURATION)]
    tolerances: Annotated[tuple[LibraryTolerance, ...], Meta(max_length=16)] = ()
    # Left out where they were not measured: manifests from before them keep their bytes.
    memory_bytes: Count | UnsetType = UNSET
    loss: Annotated[float, Meta(ge=0, le=MAX_NUMBER)] | UnsetType = UNSET
    max_loss: Annotated[float, Meta(ge=0, le=MAX_NUMBER)] | UnsetType = UNSET

    def tolerance_on(self, library: str) -> float:
        """Return the greatest allowed difference with a library, by its name."""
        return next((own.tolerance for own in self.tolerances if own.library == library), self.tolerance)


class Attachment(_Part, frozen=True):
    """A file of the bundle that no device runs.

    Attributes:
        file: its name in the bundle's folder.
    """

    file: FileName
    size_bytes: Annotated[int, Meta(ge=1, le=MAX_SBOM_BYTES)]
    sha256: Sha256


class TrialRules(_Part, frozen=True):
    """What a newly activated bundle must show before it is committed.

    Attributes:
        rows: rows to score.
        max_error_share: greatest share of rows on which scoring itself fails.
        max_latency_us: greatest median latency of one row; None: not judged.
        max_starts: starts of the process within one trial before the bundle is taken for a crasher.
        timeout_s: the trial fails when its rows have not come by then; None: it waits for rows.
        max_memory_bytes: greatest resident memory of the whole agent during the trial; None: not judged here (a device
            may have a bound of its own).
    """

    rows: Annotated[int, Meta(ge=1, le=MAX_TRIAL_ROWS)] = 20
    max_error_share: Annotated[float, Meta(ge=0, le=1)] = 0.0
    max_latency_us: Annotated[float, Meta(ge=0, le=MAX_DURATION)] | None = None
    max_starts: Annotated[int, Meta(ge=1, le=MAX_TRIAL_STARTS)] = 3
    timeout_s: Annotated[float, Meta(ge=0, le=MAX_DURATION)] | None = None
    max_memory_bytes: Count | None = None


class Lineage(_Part, frozen=True):
    """Where the model came from: run of the pipeline, fingerprint of its data, version of the code, when (UTC)."""

    run_id: Text
    data_sha256: Text
    code_version: Text
    created_utc: Text


class Inputs(Struct, frozen=True):
    """What a bundle takes from a source: rows of features, or readings that become such rows.

    Attributes:
        features: their names, in the manifest's order.
        signal: how readings become features; None: the source gives them.
    """

    features: tuple[str, ...]
    signal: Signal | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """What each row or reading of the source must hold."""
        return self.features if self.signal is None else columns_of(self.signal)


class Manifest(_Part, frozen=True):
    """All that a device and a monitor need to know of a bundle.

    Attributes:
        task: an anomaly detector has one output, below 0 for an anomaly, and is watched as a regression is.
        labels: names of the classes or clusters, in the order of the outputs; empty for one output.
        output_edges: inner bin edges of the histogram of one output; empty for classification.
        output_blocks: reference of the prediction histogram by block, as in `FeatureReference`.
        metric: name of the quality metric of `Variant.quality`.
        window_rows: rows in one telemetry window.
        sbom: what the bundle is made of, as CycloneDX; None in a bundle that was made without.
        signal: how raw readings become `features`; absent where a source gives the features themselves.
    """

    format: Literal[1]
    name: BundleName
    version: Annotated[int, Meta(ge=1, le=2**31)]
    task: Task
    metric: Text
    features: Annotated[tuple[Feature, ...], Meta(min_length=1, max_length=4096)]
    labels: Annotated[tuple[Text, ...], Meta(max_length=4096)]
    output_edges: Numbers
    output_blocks: Blocks
    references: Annotated[tuple[FeatureReference, ...], Meta(max_length=4096)]
    estimation: Estimation
    golden: Annotated[tuple[GoldenRow, ...], Meta(min_length=1, max_length=1024)]
    variants: Annotated[tuple[Variant, ...], Meta(min_length=1, max_length=MAX_VARIANTS)]
    trial: TrialRules
    lineage: Lineage
    window_rows: Annotated[int, Meta(ge=1, le=100_000)] = 50
    sbom: Attachment | None = None
    # Left out where there is none: manifests from before it keep their bytes.
    signal: Signal | UnsetType = UNSET

    @property
    def ref(self) -> BundleRef:
        """The bundle's name and version."""
        return BundleRef(self.name, self.version)

    @property
    def inputs(self) -> Inputs:
        """What a source must give."""
        signal = None if self.signal is UNSET else self.signal
        return Inputs(tuple(feature.name for feature in self.features), signal)

    @property
    def n_outputs(self) -> int:
        """Numbers that the model answers for one row: one a label, or one value."""
        return len(self.labels) or 1


class BundleFile(Struct, frozen=True):
    """A file that a manifest names: what it must be."""

    name: str
    size_bytes: int
    sha256: str


def bundle_files(manifest: Manifest) -> tuple[BundleFile, ...]:
    """Return the files of a bundle beside its manifest, in the order in which they are packed."""
    named = (*manifest.variants, *(() if manifest.sbom is None else (manifest.sbom,)))
    return tuple(BundleFile(each.file, each.size_bytes, each.sha256) for each in named)


_DECODER = msgspec.json.Decoder(Manifest)
_FILE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest as it stands in ``manifest.json``: the same manifest gives the same bytes."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def parse_manifest(data: bytes, *, is_proved: bool = False) -> Manifest:
    """Read and check a manifest.

    Args:
        data: the bytes of ``manifest.json``.
        is_proved: these very bytes were read and checked here before, as their hash says: whether they are ambiguous
            is not asked again, which takes longer than all the rest.

    Raises:
        BundleError: too large, not JSON of this shape, ambiguous, or its parts contradict each other.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        msg = f"{MANIFEST_NAME} of {len(data)} bytes refused unread, at most {MAX_MANIFEST_BYTES} are allowed"
        raise BundleError(msg)
    if not is_proved:
        from edge_agent.strict_json import verify_json  # noqa: PLC0415 - no start of an agent needs it

        verify_json(data, MANIFEST_NAME, max_depth=MAX_JSON_DEPTH, max_values=MAX_JSON_VALUES)
    try:
        manifest = _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f"{MANIFEST_NAME}: {error}"
        raise BundleError(msg) from error
    for problem in _problems_of(manifest):
        msg = f"{MANIFEST_NAME} of {manifest.ref}: {problem}"
        raise BundleError(msg)
    return manifest


def _problems_of(manifest: Manifest) -> list[str]:
    """List what contradicts itself in a manifest whose types are right."""
    problems: list[str] = []
    features, n_features, n_outputs = manifest.features, len(manifest.features), manifest.n_outputs
    names = [feature.name for feature in features]
    if len(set(names)) != n_features:
        problems.append("two features have the same name")
    for feature in features:
        problems += _feature_problems(feature)
    if (manifest.task == "classification") != (len(manifest.labels) >= 2):  # noqa: PLR2004 - two classes at least
        problems.append(f"{manifest.task} with {len(manifest.labels)} labels")
    if len(manifest.references) != n_features:
        problems.append(f"{len(manifest.references)} references for {n_features} features")
    for name, reference in zip(names, manifest.references, strict=False):
        problems += _histogram_problems(f"reference of {name!r}", reference.edges, reference.blocks)
    if manifest.task != "classification":
        problems += _histogram_problems("output reference", manifest.output_edges, manifest.output_blocks)
    elif any(len(block) != n_outputs for block in manifest.output_blocks):
        problems.append("output reference does not have one count a label")
    problems += _estimation_problems(manifest)
    problems += _window_problems(manifest)
    problems += _signal_problems(manifest)
    problems += [
        f"golden row {index} does not have {n_features} features and {n_outputs} outputs"
        for index, row in enumerate(manifest.golden)
        if len(row.features) != n_features or len(row.expected) != n_outputs
    ]
    return problems + _file_problems(manifest)


def _file_problems(manifest: Manifest) -> list[str]:
    files = bundle_files(manifest)
    problems = [f"file name {file.name!r} is not allowed" for file in files if not is_file_name(file.name)]
    names = {file.name for file in manifest.variants}
    if len({file.name for file in files}) != len(files) or len(names) != len(manifest.variants):
        problems.append("two variants share a name or a file")
    total_bytes = sum(file.size_bytes for file in files)
    if total_bytes > MAX_BUNDLE_BYTES - MAX_MANIFEST_BYTES:
        problems.append(f"its files have {total_bytes} bytes; a bundle takes {MAX_BUNDLE_BYTES - MAX_MANIFEST_BYTES}")
    for variant in manifest.variants:
        libraries = [own.library for own in variant.tolerances]
        if len(set(libraries)) != len(libraries):
            problems.append(f"variant {variant.name!r} has two tolerances for one library")
    return problems


def is_file_name(name: str) -> bool:
    """Tell whether a name may stand in a bundle: no folders, no hidden files, and not the manifest itself."""
    return _FILE_NAME.fullmatch(name) is not None and name != MANIFEST_NAME


def _histogram_problems(what: str, edges: tuple[float, ...], blocks: tuple[tuple[int, ...], ...]) -> list[str]:
    problems = []
    if any(a >= b for a, b in itertools.pairwise(edges)):
        problems.append(f"{what}: edges do not ascend")
    if not blocks or any(len(block) != len(edges) + 1 for block in blocks):
        problems.append(f"{what}: blocks of counts do not fit {len(edges)} edges")
    return problems


def _feature_problems(feature: Feature) -> list[str]:
    problems = []
    if feature.dtype == "category" and not feature.categories:
        problems.append(f"feature {feature.name!r} has no categories")
    if len(set(feature.categories)) != len(feature.categories):
        problems.append(f"feature {feature.name!r} names a category twice")
    low, high = feature.valid_min, feature.valid_max
    if low is not None and high is not None and low > high:
        problems.append(f"feature {feature.name!r} is valid from {low:g} to {high:g}, which is nowhere")
    return problems


def _window_problems(manifest: Manifest) -> list[str]:
    """Find windows that the wire would refuse: a device could never deliver them."""
    histograms = [len(reference.edges) + 1 for reference in manifest.references]
    histograms += [len(manifest.output_edges) + 1, manifest.n_outputs, n_agreement_bins(manifest)]
    if max(histograms) > MAX_BINS:
        return [f"a histogram of {max(histograms)} bins; a telemetry window takes {MAX_BINS}"]
    size_bytes = _WINDOW_ENVELOPE_BYTES + sum(n_bins * _COUNT_BYTES + 4 * _COUNT_BYTES for n_bins in histograms)
    limit = MAX_BYTES[Channel.TELEMETRY]
    if size_bytes > limit:
        return [f"a telemetry window may have {size_bytes} bytes, the wire takes {limit}; use fewer features or bins"]
    return []


def _signal_problems(manifest: Manifest) -> list[str]:
    signal = manifest.signal
    if signal is UNSET:
        return []
    problems = [f"signal: {problem}" for problem in signal_problems(signal)]
    if manifest.inputs.features != feature_names(signal):
        problems.append("signal: its features are not those of the manifest, in the same order")
    problems += [
        f"signal: feature {feature.name!r} is a category, and no number"
        for feature in manifest.features
        if feature.dtype == "category"
    ]
    return problems


def _estimation_problems(manifest: Manifest) -> list[str]:
    estimation, n_features = manifest.estimation, len(manifest.features)
    model = estimation.second_model
    problems = []
    shapes = {len(model.means), len(model.scales), *(len(row) for row in model.coefficients)}
    if shapes != {n_features} or len(model.coefficients) != len(model.intercepts):
        problems.append(f"second model does not fit {n_features} features")
    if len(model.coefficients) != manifest.n_outputs:
        problems.append(f"second model does not have {manifest.n_outputs} outputs")
    if any(scale <= 0 for scale in model.scales):
        problems.append("second model has a scale that is not positive")
    edges = estimation.disagreement_edges
    if any(a >= b for a, b in itertools.pairwise(edges)):
        problems.append("disagreement edges do not ascend")
    if manifest.task == "classification" and edges:
        problems.append("disagreement edges in a classification")
    n_bins = n_agreement_bins(manifest)
    if len(estimation.quality) != n_bins or len(estimation.rows) != n_bins:
        problems.append(f"estimation does not have {n_bins} agreement bins")
    return problems


def n_agreement_bins(manifest: Manifest) -> int:
    """Return the length of ``TelemetryWindow.agreement``: 2 × 10 for classification, else the disagreement bins."""
    if manifest.task == "classification":
        return 20
    return len(manifest.estimation.disagreement_edges) + 1
