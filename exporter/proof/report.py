"""What an export found, as values, and as JSON that later versions still read. It measures nothing and tells nobody."""

from typing import Final, Literal, get_args

import msgspec

from edge_agent.bundle import RuntimeName
from exporter.proof.cost import Latency, Memory
from exporter.proof.intervals import Estimate
from exporter.proof.parity import Parity

SCHEMA: Final = 1


class RuntimeRun(msgspec.Struct, frozen=True):
    """What a variant did on one runtime that it claims.

    Attributes:
        implementation: the library, with its version where it was run.
        where: the Python and processor that ran it.
        refusal: the gate that it failed there, and by how much; empty when it passed.
        not_run: why it was not run; the measured parts are None then.
        from_first: greatest difference of an output from the first runtime's, on what a sensor may send.
        tolerance: greatest difference from the original that a device with this library may see.
    """

    implementation: str
    where: str = ""
    refusal: str = ""
    not_run: str = ""
    parity: Parity | None = None
    quality: float | None = None
    from_first: float = 0.0
    tolerance: float = 0.0
    latency: Latency | None = None
    memory: Memory | None = None

    @property
    def name(self) -> str:
        """The library without its version."""
        return self.implementation.split(" ", maxsplit=1)[0]


class Footprint(msgspec.Struct, frozen=True):
    """What a header takes on a microcontroller.

    Attributes:
        machine: the processor that it was compiled for.
        not_weighed: why there are no figures; empty where there are.
        flash_bytes: code and tables; `ram_bytes`: variables that live for ever; `stack_bytes`: of the deepest call,
            without what the functions of ``math.h`` take.
    """

    machine: str
    not_weighed: str = ""
    flash_bytes: int = 0
    ram_bytes: int = 0
    stack_bytes: int = 0

    def __str__(self) -> str:
        if self.not_weighed:
            return f"{self.machine}: {self.not_weighed}"
        return (
            f"{self.machine}: {self.flash_bytes / 1000:.1f} kB of flash, {self.ram_bytes} bytes of RAM, "
            f"{self.stack_bytes} bytes of stack"
        )


class VariantReport(msgspec.Struct, frozen=True):
    """One requested variant.

    Attributes:
        made: whether there is a file; where not, `reason` says why, and the measured parts are None.
        is_quantised: judged by its quality, and not row by row.
        file, size_bytes, sha256: of the file in the export's folder; `gzip_bytes` of it on the way.
        tolerance: greatest difference from the original that any device may see, see `exporter.export.tolerance_of`.
        quality, original_quality: on the evaluation rows, by the report's metric.
        quality_interval: of `quality`; `loss`: of the original's minus the variant's; each with 95 % confidence.
        parity, latency, memory: on the first runtime; `runs`: on every runtime that it claims.
        accepted: whether it may go into a bundle; where it was made and may not, `refusal` says which gate and by how
            much, and `worst` of `failed` shows the rows that differ most.
        doubt: what the interval of an accepted loss leaves open.
        footprints: of source for microcontrollers.
    """

    name: str
    runtime: RuntimeName | Literal["c"]
    made: bool
    accepted: bool
    reason: str = ""
    refusal: str = ""
    is_quantised: bool = False
    file: str = ""
    size_bytes: int = 0
    gzip_bytes: int = 0
    sha256: str = ""
    tolerance: float = 0.0
    parity: Parity | None = None
    quality: float | None = None
    original_quality: float | None = None
    quality_interval: Estimate | None = None
    loss: Estimate | None = None
    doubt: str = ""
    latency: Latency | None = None
    memory: Memory | None = None
    runs: tuple[RuntimeRun, ...] = ()
    footprints: tuple[Footprint, ...] = ()

    @property
    def is_for_agent(self) -> bool:
        """Whether the agent has a runtime for it: else it is source for a microcontroller."""
        return self.runtime in get_args(RuntimeName)

    @property
    def latency_us(self) -> float:
        """Median microseconds of one row; 0 when it was not measured."""
        return self.latency.median_us if self.latency else 0.0

    @property
    def verdict(self) -> str:
        """The outcome in words."""
        return "accepted" if self.accepted else self.reason or self.refusal

    @property
    def failed(self) -> Parity | None:
        """How it compares on the first runtime whose gate it failed; None where it failed none."""
        return next((run.parity for run in self.runs if run.refusal and run.parity is not None), None)


class BoardChoice(msgspec.Struct, frozen=True):
    """The variant that suits a board, and why; no variant where none does."""

    board: str
    variant: str
    implementation: str
    reason: str


class ExportReport(msgspec.Struct, frozen=True):
    """What became of every requested variant.

    Attributes:
        model: the steps of the model.
        evaluation_rows: that the quality was judged on.
        original_quality: of the original estimator on the evaluation rows; `original_interval`: with its interval.
        max_loss: greatest loss of quality that was allowed.
        probes: how many rows of each kind were compared.
        notes: what could not be proved, and why.
        features: names, in the order of the rows.
        labels: names of the outputs; empty unless the model classifies.
        schema: version of this format; a reader refuses others.
    """

    model: str
    metric: str
    evaluation_rows: int
    original_quality: float
    variants: tuple[VariantReport, ...]
    original_interval: Estimate | None = None
    max_loss: float = 0.0
    probes: dict[str, int] = {}
    notes: tuple[str, ...] = ()
    boards: tuple[BoardChoice, ...] = ()
    features: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    schema: Literal[1] = SCHEMA

    @property
    def accepted(self) -> tuple[VariantReport, ...]:
        """The variants that passed their gates, in the order in which they were asked for."""
        return tuple(variant for variant in self.variants if variant.accepted)

    @property
    def bundled(self) -> tuple[VariantReport, ...]:
        """Those of them that go into a bundle."""
        return tuple(variant for variant in self.variants if variant.accepted and variant.is_for_agent)


def report_json(report: ExportReport) -> bytes:
    """Return the report as JSON; `parse_report` reads it back."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def parse_report(data: bytes) -> ExportReport:
    """Read a report from JSON; raise msgspec.ValidationError when it is none."""
    return msgspec.json.decode(data, type=ExportReport)


def report_schema() -> bytes:
    """Return the JSON Schema of a report; always the same bytes."""
    return msgspec.json.format(msgspec.json.encode(_in_order(msgspec.json.schema(ExportReport))), indent=1) + b"\n"


def _in_order(schema: object) -> object:
    """Sort the values of enumerations, which msgspec gives in the order of a set."""
    if isinstance(schema, dict):
        return {key: sorted(value) if key == "enum" else _in_order(value) for key, value in schema.items()}
    return [_in_order(part) for part in schema] if isinstance(schema, list) else schema
