"""Messages of the wire: what each channel carries, how it is encoded, and what is refused unread.

A payload is one version byte, then one MessagePack array (fields by position: a newer writer appends fields, an older
reader ignores them; a missing tail takes the defaults). Sizes are limited before anything is parsed. Spooled channels
wrap their body in ``Spooled``, which names the record by (epoch, sequence), so that a receiver stores each once.
Times are UTC seconds since 1970. This module does no I/O and knows no broker.
"""

import math
from collections.abc import Iterable
from typing import Annotated, Any, Final, NewType, TypeVar

import msgspec
from msgspec import Meta, Struct

from broker.errors import WireError
from broker.topics import MAX_TOPIC_BYTES, RULES, Channel

PredictionId = NewType("PredictionId", str)
AskId = NewType("AskId", str)
Epoch = NewType("Epoch", int)

VERSION: Final = 1
CONFIDENCE_BINS: Final = 10

Name = Annotated[str, Meta(min_length=1, max_length=64)]
ShortText = Annotated[str, Meta(max_length=128)]
Text = Annotated[str, Meta(max_length=2048)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Counts = Annotated[tuple[Count, ...], Meta(max_length=1024)]
Unsigned32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Seconds = Annotated[float, Meta(ge=-1e12, le=1e12)]


class Wire(Struct, frozen=True, array_like=True):
    """Base of everything on the wire: fields travel by position, so they are only ever appended."""


class BundleRef(Wire, frozen=True, order=True):
    """A bundle by name and version; the version is that of the model in the registry.

    Attributes:
        name: the model's, as the registry has it.
        version: whole number from 1, never used twice for a name.
    """

    name: Name
    version: Annotated[int, Meta(ge=1, le=2**31)]

    def __str__(self) -> str:
        """Return ``name/version``, as people write it."""
        return f"{self.name}/{self.version}"


class RecordKey(Wire, frozen=True):
    """The name of a spooled record.

    Attributes:
        epoch: drawn at random when a spool is made; a new spool never continues an old one's numbers.
        sequence: 1 for the first record of the epoch, then upwards.
        previous: sequence of the record sent before this one (0: none). Where thinning has dropped records the
            numbers jump; this lets the receiver tell a dropped record from one that is still under way.
    """

    epoch: Unsigned32
    sequence: Annotated[int, Meta(ge=1, le=2**53)]
    previous: Count


# --- status ----------------------------------------------------------------------------------------------------------


class Facts(Wire, frozen=True):
    """What a device is; sizes in bytes.

    Attributes:
        board: its model, as the board tells it; empty where it tells nothing.
        architecture: as ``broker.extensions.architecture`` names it, for example ``aarch64``.
        runtimes: libraries that are installed and could score.
        memory_bytes: all memory of the board.
        free_disk_bytes: on the disk that holds the agent's state.
    """

    board: ShortText
    architecture: ShortText
    runtimes: Annotated[tuple[ShortText, ...], Meta(max_length=16)]
    memory_bytes: Count
    free_disk_bytes: Count


class Status(Wire, frozen=True):
    """Channel ``status``, retained: whether a device is there, and what it runs. Its last will says ``online=False``.

    Attributes:
        online: whether the device is there; its last will says False.
        at_utc_s: UTC seconds since 1970 by the device's clock; of a last will, of its connect.
        boot_id: changes with each start of the agent.
        agent_version: of the agent's program.
        bundle: the bundle that scores now; None before the first.
        variant: the variant of it that runs.
        update_state: state of the update table (``edge_agent/update/states.py``).
        facts: what the device is; None in a last will.
    """

    online: bool
    at_utc_s: Seconds
    boot_id: ShortText
    agent_version: ShortText
    bundle: BundleRef | None = None
    variant: ShortText | None = None
    update_state: ShortText = ""
    facts: Facts | None = None


# --- telemetry -------------------------------------------------------------------------------------------------------


class FeatureCounts(Wire, frozen=True, gc=False):
    """One feature in one window: a histogram over the manifest's edges (open-ended first and last bin).

    Attributes:
        counts: rows by bin, in the order of the edges.
        missing: rows without a value.
        out_of_range: rows whose value is outside of the manifest's range, or a category that it does not name.
    """

    counts: Counts
    missing: Count = 0
    out_of_range: Count = 0


class Resources(Wire, frozen=True):
    """The agent's process and its board at the end of a window; None where the board does not tell.

    Attributes:
        rss_bytes: resident memory of the agent's process.
        cpu_s: processor time of the process since its start, seconds.
        free_disk_bytes: on the disk that holds the agent's state.
        temperature_c: of the processor, degrees Celsius.
        throttled: whether the board slows itself down now, or has since its start: too warm, or too little voltage.
    """

    rss_bytes: Count
    cpu_s: Annotated[float, Meta(ge=0)]
    free_disk_bytes: Count
    temperature_c: Annotated[float, Meta(ge=-273.15, le=1000)] | None = None
    throttled: bool | None = None


class TelemetryWindow(Wire, frozen=True):
    """Channel ``telemetry``, spooled: one stretch of scoring by one bundle, as counts that can be added.

    Attributes:
        bundle: what scored.
        variant: the variant of it that ran.
        started_utc_s: UTC seconds since 1970 by the device's clock.
        ended_utc_s: UTC seconds since 1970 of the window's end, by the same clock.
        first_row: number of the window's first source row; windows of one source never overlap.
        last_row: number of its last source row.
        rows_scored: rows that got a prediction.
        rows_refused: (reason, rows) of rows that got none, by the rule that refused them.
        features: in the manifest's order.
        predictions: classification: rows by label; regression: rows by the manifest's output bins.
        agreement: classification: rows by (second model agrees? 1 : 0) * 10 + confidence bin; regression: rows by the
            manifest's disagreement bins.
        latency: (bucket, rows) of a logarithmic sketch of microseconds, see ``edge_agent/telemetry/sketches.py``.
        errors: (kind, times) of failures inside the agent.
        resources: None where they were not read.
    """

    bundle: BundleRef
    variant: ShortText
    started_utc_s: Seconds
    ended_utc_s: Seconds
    first_row: Count
    last_row: Count
    rows_scored: Count
    rows_refused: Annotated[tuple[tuple[ShortText, Count], ...], Meta(max_length=32)]
    features: Annotated[tuple[FeatureCounts, ...], Meta(max_length=4096)]
    predictions: Counts
    agreement: Counts
    latency: Annotated[tuple[tuple[Annotated[int, Meta(ge=-4096, le=4096)], Count], ...], Meta(max_length=2048)]
    errors: Annotated[tuple[tuple[ShortText, Count], ...], Meta(max_length=32)]
    resources: Resources | None = None


# --- samples and labels ----------------------------------------------------------------------------------------------


class Sample(Wire, frozen=True):
    """One scored row that is worth a label.

    Attributes:
        prediction_id: unique in the fleet: a label names it.
        scored_utc_s: UTC seconds since 1970 by the device's clock.
        features: the row as the model got it, in the manifest's order; None where missing. Categories travel as their
            index.
        prediction: index of the label (classification) or the value (regression).
        confidence: probability of the predicted label; 0 for regression.
        agrees: whether the second model gave the same label, or a value in the same output bin.
        reason: ``background`` (reservoir), ``uncertain``, ``novel`` or ``asked``.
        ask_id: the ask that this row answers, if any.
    """

    prediction_id: ShortText
    scored_utc_s: Seconds
    features: Annotated[tuple[float | None, ...], Meta(max_length=4096)]
    prediction: float
    confidence: Annotated[float, Meta(ge=0, le=1)]
    agrees: bool
    reason: ShortText
    ask_id: ShortText | None = None


class Samples(Wire, frozen=True):
    """Channel ``samples``, spooled: rows worth labelling or training on, each scored by ``bundle``.

    Attributes:
        bundle: what scored them.
        rows: 1 to 1,024, in the order of scoring.
    """

    bundle: BundleRef
    rows: Annotated[tuple[Sample, ...], Meta(min_length=1, max_length=1024)]


class Label(Wire, frozen=True):
    """The truth about one prediction: a label's name or a value, and when it became known.

    Attributes:
        prediction_id: the sample's.
        label: name of the label (classification) or the value (regression, in the unit of the model's output).
        known_utc_s: UTC seconds since 1970 at which the truth was known.
    """

    prediction_id: ShortText
    label: Annotated[str, Meta(max_length=128)] | float
    known_utc_s: Seconds


class Labels(Wire, frozen=True):
    """Channel ``labels``: truths about predictions of the device in the topic, told by ``source``.

    Attributes:
        source: who tells them, for people.
        rows: one truth each, 1 to 1,024.
    """

    source: ShortText
    rows: Annotated[tuple[Label, ...], Meta(min_length=1, max_length=1024)]


# --- events ----------------------------------------------------------------------------------------------------------


class ShadowReport(Wire, frozen=True):
    """How far a bundle that scores in the shadow differed from the one that counts, since the report before.

    Attributes:
        bundle: what scores in the shadow.
        variant: the variant of it that runs.
        against: the bundle that counts.
        rows: rows that both scored.
        disagreements: of these, classification: with another label; regression: in another of the shadow's output bins.
        difference_sum: regression: of |difference| over these rows; 0 for classification.
        refused: rows that the one that counts scored, and the shadow refused or failed on.
        dropped: rows that the shadow never saw, because it was too slow.
        median_latency_us: microseconds of one row in the shadow's own process; 0 before the first.
    """

    bundle: BundleRef
    variant: ShortText
    against: BundleRef
    rows: Count
    disagreements: Count
    difference_sum: Annotated[float, Meta(ge=0)]
    refused: Count
    dropped: Count
    median_latency_us: Annotated[float, Meta(ge=0)] = 0.0


class Event(Wire, frozen=True):
    """Channel ``events``, spooled: a step of an update with its reason, or an error worth a person.

    Attributes:
        kind: for example ``fetched``, ``refused``, ``activated``, ``committed``, ``rolled_back``, ``shadow`` or
            ``error``.
        at_utc_s: UTC seconds since 1970 by the device's clock.
        severity: ``info``, ``warning`` or ``error``.
        reason: in words, for people.
        bundle: the bundle that it is about, if any.
        order_id: the order that it answers, if any.
        shadow: what a bundle in the shadow did; with kind ``shadow``.
    """

    kind: ShortText
    at_utc_s: Seconds
    severity: ShortText
    reason: Text
    bundle: BundleRef | None = None
    order_id: ShortText | None = None
    shadow: ShadowReport | None = None


# --- orders ----------------------------------------------------------------------------------------------------------


class Desired(Wire, frozen=True):
    """Channel ``desired``, retained: the bundle that a device should run, by whose order and why.

    A new ``order_id`` lets a device try again a bundle that it once rolled back.

    Attributes:
        bundle: what to run.
        order_id: of the order that events answer to.
        issued_utc_s: UTC seconds since 1970.
        by: who ordered it: a person or a service.
        reason: for people and the audit log.
    """

    bundle: BundleRef
    order_id: ShortText
    issued_utc_s: Seconds
    by: ShortText
    reason: Text = ""


class Stored(Wire, frozen=True):
    """Channel ``stored``, retained: every record of ``epoch`` up to ``sequence`` is in the monitor's database.

    Attributes:
        epoch: of the device's spool.
        sequence: of the last record up to which none is missing.
        at_utc_s: UTC seconds since 1970 of the commit.
    """

    epoch: Unsigned32
    sequence: Count
    at_utc_s: Seconds


class AskLabels(Wire, frozen=True, tag="ask_labels"):
    """Choose ``rows`` of the rows scored from now on and send them as samples, in at most ``max_bytes``.

    Attributes:
        ask_id: chosen by who asks; each sample that answers carries it.
        rows: how many, 1 to 1,024.
        max_bytes: of all samples that answer, 1 to 1,048,576.
        uncertain_share: share of them that is chosen for what they are, in equal parts the least certain and the least
            like the rows of training; the others are chosen at random. Rows to judge a model by must all be chosen at
            random; rows to learn from need not.
    """

    ask_id: ShortText
    rows: Annotated[int, Meta(ge=1, le=1024)]
    max_bytes: Annotated[int, Meta(ge=1, le=2**20)] = 65536
    uncertain_share: Annotated[float, Meta(ge=0, le=1)] = 0.0


class ReportStatus(Wire, frozen=True, tag="report_status"):
    """Publish ``status`` now."""


class RollBack(Wire, frozen=True, tag="roll_back"):
    """Go back to the previous bundle.

    Attributes:
        reason: for people and the audit log.
    """

    reason: Text


class ScoreRow(Wire, frozen=True, tag="score_row"):
    """Score one row, in the manifest's order, outside of telemetry.

    Attributes:
        features: ``(n_features,)``, as in `Sample`.
    """

    features: Annotated[tuple[float | None, ...], Meta(max_length=4096)]


class Diagnose(Wire, frozen=True, tag="diagnose"):
    """Tell what the agent knows about itself, without secrets."""


class StartShadow(Wire, frozen=True, tag="start_shadow"):
    """Have a second bundle score the same rows, in a process of its own; only how far it differs is reported.

    It ends by ``StopShadow``, by an update, or after ``rows`` compared rows (0: never).

    Attributes:
        bundle: what is to score in the shadow.
        rows: compared rows after which it ends; 0: none.
    """

    bundle: BundleRef
    rows: Count = 0


class StopShadow(Wire, frozen=True, tag="stop_shadow"):
    """End the shadow."""


class Command(Wire, frozen=True):
    """Channel ``command``: ask a device for something; ignored after ``expires_utc_s``.

    Attributes:
        command_id: chosen by who asks; its reply carries it.
        expires_utc_s: UTC seconds since 1970 after which it is ignored.
        by: who asks: a person or a service.
        order: what is asked, by its ``type``.
    """

    command_id: ShortText
    expires_utc_s: Seconds
    by: ShortText
    order: AskLabels | ReportStatus | RollBack | ScoreRow | Diagnose | StartShadow | StopShadow


class Reply(Wire, frozen=True):
    """Channel ``reply``: the answer to the command of the same id.

    Attributes:
        command_id: the command's.
        accepted: whether the device does, or did, what was asked.
        reason: why not, in words; or what is to be known.
        scores: answer to ``ScoreRow``: probabilities by label, or one value.
        report: answer to ``Diagnose``: JSON text.
    """

    command_id: ShortText
    accepted: bool
    reason: Text = ""
    scores: Annotated[tuple[float, ...], Meta(max_length=4096)] = ()
    report: Annotated[str, Meta(max_length=65536)] = ""


Body = Status | TelemetryWindow | Samples | Labels | Event | Desired | Stored | Command | Reply


class Spooled(Wire, frozen=True):
    """A body of a spooled channel with the name of its record; the body is already encoded, and checked by `parse`."""

    key: RecordKey
    body: msgspec.Raw


BODY_OF: dict[Channel, type[Body]] = {
    Channel.STATUS: Status,
    Channel.TELEMETRY: TelemetryWindow,
    Channel.SAMPLES: Samples,
    Channel.LABELS: Labels,
    Channel.EVENTS: Event,
    Channel.DESIRED: Desired,
    Channel.STORED: Stored,
    Channel.COMMAND: Command,
    Channel.REPLY: Reply,
}

# A payload over its channel's limit is refused by its length alone, before a byte of it is parsed.
MAX_BYTES: dict[Channel, int] = {
    Channel.STATUS: 4 << 10,
    Channel.TELEMETRY: 256 << 10,
    Channel.SAMPLES: 1 << 20,
    Channel.LABELS: 256 << 10,
    Channel.EVENTS: 8 << 10,
    Channel.DESIRED: 4 << 10,
    Channel.STORED: 256,
    Channel.COMMAND: 64 << 10,
    Channel.REPLY: 256 << 10,
}
# The largest MQTT packet that carries a message: its payload, its topic, and the few bytes around them.
MAX_PACKET_BYTES: Final = max(MAX_BYTES.values()) + MAX_TOPIC_BYTES + 16


class MessageTooLargeError(WireError):
    """A payload is over its channel's limit."""


class UnknownVersionError(WireError):
    """A payload is of a version that this reader does not know."""


class MalformedMessageError(WireError):
    """A payload does not follow its channel's type."""


BodyT = TypeVar("BodyT", bound=Body)

_ENCODER = msgspec.msgpack.Encoder()


def _spooled(body: type[Body]) -> type[Struct]:
    """Return `Spooled` with a body of this type, which is read in one go with the key."""
    return msgspec.defstruct(
        f"Spooled{body.__name__}", [("key", RecordKey), ("body", body)], frozen=True, array_like=True
    )


_DECODERS: Final[dict[Channel, msgspec.msgpack.Decoder[Any]]] = {
    channel: msgspec.msgpack.Decoder(_spooled(body) if RULES[channel].spooled else body)
    for channel, body in BODY_OF.items()
}
_VERSION_BYTE = bytes([VERSION])


def encode(body: Body) -> bytes:
    """Return the payload of a channel that is not spooled."""
    return _VERSION_BYTE + _ENCODER.encode(body)


def encode_body(body: TelemetryWindow | Samples | Event) -> bytes:
    """Return the body of a spooled record as the spool keeps it: without version and key."""
    if isinstance(body, Event) and body.shadow is None:
        # The field came later: an event without it keeps the bytes that it always had.
        return _ENCODER.encode(msgspec.structs.astuple(body)[:-1])
    return _ENCODER.encode(body)


def encode_record(key: RecordKey, body: bytes) -> bytes:
    """Return the payload of a spooled record from its key and its body as `encode_body` gave it."""
    return _VERSION_BYTE + _ENCODER.encode(Spooled(key, msgspec.Raw(body)))


def parse(channel: Channel, payload: bytes) -> tuple[RecordKey | None, Body]:
    """Read a payload of ``channel``: its record's key (None where the channel is not spooled) and its body.

    Raises:
        MessageTooLargeError: over the channel's limit; nothing was parsed.
        UnknownVersionError: another version.
        MalformedMessageError: not of the channel's type, or a number that is not finite.
    """
    content = _strip_version(channel, payload)
    key: RecordKey | None = None
    try:
        body = _DECODERS[channel].decode(content)
        if RULES[channel].spooled:
            key, body = body.key, body.body
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f"{channel.value}: malformed message of {len(payload)} bytes: {error}"
        raise MalformedMessageError(msg) from error
    _verify_finite(channel, body)
    return key, body


def parse_as(body_type: type[BodyT], channel: Channel, payload: bytes) -> BodyT:
    """Read a payload whose type the caller knows from the channel; raise as `parse` does."""
    _, body = parse(channel, payload)
    if not isinstance(body, body_type):
        msg = f"{channel.value}: carries {type(body).__name__}, not {body_type.__name__}"
        raise MalformedMessageError(msg)
    return body


def _strip_version(channel: Channel, payload: bytes) -> memoryview:
    limit = MAX_BYTES[channel]
    if len(payload) > limit:
        msg = f"{channel.value}: message of {len(payload)} bytes refused unread, at most {limit} are allowed"
        raise MessageTooLargeError(msg)
    if not payload:
        msg = f"{channel.value}: empty message"
        raise MalformedMessageError(msg)
    if payload[0] != VERSION:
        msg = f"{channel.value}: message version {payload[0]}, this reader knows {VERSION}; update the reader"
        raise UnknownVersionError(msg)
    return memoryview(payload)[1:]


def _verify_finite(channel: Channel, body: Body) -> None:
    """Refuse NaN and infinity: MessagePack has them, arithmetic downstream must not meet them."""
    for number in _floats_of(body):
        if not math.isfinite(number):
            msg = f"{channel.value}: a number is not finite"
            raise MalformedMessageError(msg)


def _floats_of(body: Body) -> Iterable[float]:
    numbers: Iterable[float | str | None]
    match body:
        case Samples(rows=rows):
            numbers = (n for row in rows for n in (row.scored_utc_s, row.prediction, row.confidence, *row.features))
        case Labels(rows=labels):
            numbers = (n for row in labels for n in (row.known_utc_s, row.label))
        case TelemetryWindow(resources=None):
            numbers = (body.started_utc_s, body.ended_utc_s)
        case TelemetryWindow(resources=Resources() as resources):
            numbers = (body.started_utc_s, body.ended_utc_s, resources.cpu_s, resources.temperature_c)
        case Reply():
            numbers = body.scores
        case Command(order=ScoreRow(features=features)):
            numbers = (body.expires_utc_s, *features)
        case Command():
            numbers = (body.expires_utc_s,)
        case Desired():
            numbers = (body.issued_utc_s,)
        case Status() | Event() | Stored():
            numbers = (body.at_utc_s, *_floats_of_shadow(body))
    return (number for number in numbers if isinstance(number, float))


def _floats_of_shadow(body: Status | Event | Stored) -> tuple[float, ...]:
    shadow = body.shadow if isinstance(body, Event) else None
    return () if shadow is None else (shadow.difference_sum, shadow.median_latency_us)
