"""Stated messages of every channel, and the files that hold them as they were first encoded.

``python -m tests.unit.broker.wire_examples`` writes the files of the present version that are missing, never one that
is there, and renews the examples in docs/wire.md. A new version adds its own examples beside these; these stay.
"""

import json
import sys
from pathlib import Path
from typing import Final, TypeAlias, get_args, get_type_hints

import msgspec

from broker.messages import (
    MAX_BYTES,
    VERSION,
    AskLabels,
    Body,
    BundleRef,
    Command,
    Desired,
    Diagnose,
    Event,
    Facts,
    FeatureCounts,
    Label,
    Labels,
    RecordKey,
    Reply,
    ReportStatus,
    Resources,
    RollBack,
    Sample,
    Samples,
    ScoreRow,
    ShadowReport,
    StartShadow,
    Status,
    StopShadow,
    Stored,
    TelemetryWindow,
    encode,
    encode_body,
    encode_record,
)
from broker.packs import PACK_VERSION, pack_windows
from broker.readable import decode_payload
from broker.topics import RULES, Channel

REPOSITORY: Final = Path(__file__).resolve().parents[3]
FOLDER: Final = REPOSITORY / "tests" / "data" / "wire"
PAGE: Final = REPOSITORY / "docs" / "wire.md"

Example: TypeAlias = tuple[RecordKey | None, Body]

_BUNDLE: Final = BundleRef("rain", 3)
_EPOCH: Final = 2_271_560_481

V1: Final[dict[Channel, Example]] = {
    Channel.STATUS: (
        None,
        Status(
            online=True,
            at_utc_s=1_764_000_000.25,
            boot_id="5f0c2a91",
            agent_version="0.1.0",
            bundle=_BUNDLE,
            variant="onnx-int8",
            update_state="committed",
            facts=Facts(
                board="Raspberry Pi 4 Model B",
                architecture="aarch64",
                runtimes=("onnx", "tflite"),
                memory_bytes=1_989_677_056,
                free_disk_bytes=20_401_094_656,
            ),
        ),
    ),
    Channel.TELEMETRY: (
        RecordKey(_EPOCH, 41, 40),
        TelemetryWindow(
            bundle=_BUNDLE,
            variant="onnx-int8",
            started_utc_s=1_764_000_000.0,
            ended_utc_s=1_764_000_060.5,
            first_row=1200,
            last_row=1211,
            rows_scored=10,
            rows_refused=(("missing", 1), ("out_of_range", 1)),
            features=(FeatureCounts((0, 4, 6, 0)), FeatureCounts((2, 5, 3, 0), missing=1, out_of_range=1)),
            predictions=(7, 3),
            agreement=(0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 2),
            latency=((46, 8), (49, 2)),
            errors=(("sink", 1),),
            resources=Resources(rss_bytes=48_234_496, cpu_s=1.75, free_disk_bytes=20_401_094_656, temperature_c=51.5),
        ),
    ),
    Channel.SAMPLES: (
        # 42 was thinned away: `previous` says that nothing is missing between 41 and 43.
        RecordKey(_EPOCH, 43, 41),
        Samples(
            bundle=_BUNDLE,
            rows=(
                Sample(
                    "station-07.1203", 1_764_000_015.0, (21.5, None, 3.0), 1.0, 0.625, agrees=True, reason="background"
                ),
                Sample(
                    "station-07.1207",
                    1_764_000_035.0,
                    (18.25, 0.5, 0.0),
                    0.0,
                    0.5,
                    agrees=False,
                    reason="asked",
                    ask_id="ask-12",
                ),
            ),
        ),
    ),
    Channel.LABELS: (
        None,
        Labels(
            source="weather-office",
            rows=(
                Label("station-07.1203", "rain", 1_764_086_400.0),
                Label("station-07.1207", 0.5, 1_764_086_400.0),
            ),
        ),
    ),
    Channel.EVENTS: (
        RecordKey(_EPOCH, 44, 43),
        Event(
            kind="refused",
            at_utc_s=1_764_000_070.0,
            severity="error",
            reason="golden row 3: expected 0.91, got 0.12 (tolerance 0.01)",
            bundle=BundleRef("rain", 4),
            order_id="order-9",
        ),
    ),
    Channel.DESIRED: (
        None,
        Desired(
            bundle=BundleRef("rain", 4),
            order_id="order-9",
            issued_utc_s=1_764_000_050.0,
            by="rollout",
            reason="ring 1 of rain/4",
        ),
    ),
    Channel.STORED: (None, Stored(_EPOCH, 44, 1_764_000_071.5)),
    Channel.COMMAND: (
        None,
        Command(
            command_id="c-77",
            expires_utc_s=1_764_003_600.0,
            by="monitor",
            order=AskLabels(ask_id="ask-12", rows=30, max_bytes=32768),
        ),
    ),
    Channel.REPLY: (
        None,
        Reply(command_id="c-77", accepted=False, reason="expired", scores=(0.25, 0.75), report='{"spool": 3}'),
    ),
}
_FIRST: Final = V1[Channel.TELEMETRY][1]
assert isinstance(_FIRST, TelemetryWindow)
# Version 2 is of telemetry alone: a pack of windows.
PACK: Final[tuple[tuple[RecordKey, TelemetryWindow], ...]] = (
    (
        RecordKey(_EPOCH, 45, 44),
        msgspec.structs.replace(
            _FIRST,
            resources=Resources(
                rss_bytes=48_234_496, cpu_s=1.75, free_disk_bytes=20_401_094_656, temperature_c=51.5, throttled=False
            ),
        ),
    ),
    (
        RecordKey(_EPOCH, 47, 45),
        msgspec.structs.replace(
            _FIRST,
            started_utc_s=1_764_000_060.5,
            ended_utc_s=1_764_000_120.5,
            first_row=1212,
            last_row=1221,
            rows_scored=10,
            rows_refused=(),
            features=(FeatureCounts((1, 5, 3, 0), missing=1), FeatureCounts((2, 4, 4, 0))),
            errors=(),
            resources=None,
        ),
    ),
)
# Every version that was ever on the wire: its messages must stay readable.
EXAMPLES: Final[dict[int, dict[Channel, tuple[Example, ...]]]] = {
    1: {channel: (example,) for channel, example in V1.items()},
    PACK_VERSION: {Channel.TELEMETRY: PACK},
}
# What a channel carries besides: every other order, and an event with the report of a shadow. By the file's name.
MORE: Final[dict[str, tuple[Channel, Example]]] = {
    f"command-{order.__struct_config__.tag}": (
        Channel.COMMAND,
        (None, Command("c-78", 1_764_003_600.0, "operator:anna", order)),
    )
    for order in (
        ReportStatus(),
        RollBack("press 7 scores nonsense"),
        ScoreRow((21.5, None, 3.0)),
        Diagnose(),
        StartShadow(BundleRef("rain", 4), 5000),
        StopShadow(),
    )
} | {
    "events-shadow": (
        Channel.EVENTS,
        (
            RecordKey(_EPOCH, 48, 47),
            Event(
                kind="shadow",
                at_utc_s=1_764_000_130.0,
                severity="info",
                reason="rain/4 in the shadow of rain/3: 3 of 100 rows differ",
                bundle=BundleRef("rain", 4),
                order_id="c-78",
                shadow=ShadowReport(BundleRef("rain", 4), "onnx-int8", _BUNDLE, 100, 3, 0.75, 1, 2, 40.0),
            ),
        ),
    )
}
# What is written now, by channel.
PRESENT: Final[dict[Channel, int]] = dict.fromkeys(Channel, VERSION) | {Channel.TELEMETRY: PACK_VERSION}


def payload_of(example: Example) -> bytes:
    """Encode an example as version 1 does."""
    key, body = example
    if key is None:
        return encode(body)
    assert isinstance(body, TelemetryWindow | Samples | Event)
    return encode_record(key, encode_body(body))


def file_of(version: int, channel: Channel, folder: Path = FOLDER) -> Path:
    """Where an example is kept as it was first encoded."""
    return folder / f"v{version}" / f"{channel.value}.bin"


def file_of_more(name: str, folder: Path = FOLDER) -> Path:
    """Where one of the further examples is kept."""
    return folder / f"v{VERSION}" / f"{name}.bin"


def present_payload(channel: Channel) -> bytes:
    """Encode the example of a channel as it is written now."""
    return pack_windows(PACK) if PRESENT[channel] == PACK_VERSION else payload_of(V1[channel])


def write_missing(folder: Path = FOLDER) -> list[Path]:
    """Write the files of what is written now that are missing; return them."""
    written = []
    payloads = {file_of(version, channel, folder): present_payload(channel) for channel, version in PRESENT.items()}
    payloads |= {file_of_more(name, folder): payload_of(example) for name, (_, example) in MORE.items()}
    for file, payload in payloads.items():
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(payload)
            written.append(file)
    return written


def render_page(page: str) -> str:
    """Return docs/wire.md with its table, and its examples as `fieldloop wire decode` prints them now."""
    rows = ["| channel | who writes | retained | spooled | at most (bytes) |", "|---|---|---|---|---|"]
    for channel, rule in RULES.items():
        cells = (f"`{channel.value}`", rule.writer.value, _yes(rule.retained), _yes(rule.spooled), MAX_BYTES[channel])
        rows.append(f"| {' | '.join(map(str, cells))} |")
    page = _replace_between(page, "channels", "\n".join(rows))
    for channel in Channel:
        version = PRESENT[channel]
        readable = decode_payload(channel, file_of(version, channel).read_bytes())
        text = json.dumps(readable, indent=2, ensure_ascii=False)
        command = f"fieldloop wire decode {channel.value} tests/data/wire/v{version}/{channel.value}.bin"
        page = _replace_between(page, f"example {channel.value}", f"```console\n$ {command}\n{text}\n```")
    for channel in (Channel.EVENTS, Channel.COMMAND):
        lines = ["```console"]
        for name in (name for name, (of, _) in MORE.items() if of is channel):
            lines.append(f"$ fieldloop wire decode {channel.value} tests/data/wire/v{VERSION}/{name}.bin --json")
            readable = decode_payload(channel, file_of_more(name).read_bytes())
            lines.append(json.dumps(readable, ensure_ascii=False))
        page = _replace_between(page, f"example more {channel.value}", "\n".join([*lines, "```"]))
    orders = ", ".join(f"`{kind.__struct_config__.tag}`" for kind in get_args(get_type_hints(Command)["order"]))
    return _replace_between(page, "orders", f"`order.type` is one of {orders}.")


def _replace_between(page: str, name: str, text: str) -> str:
    begin, end = f"<!-- {name} -->\n", f"<!-- end {name.removeprefix('example ')} -->\n"
    head, has_begin, rest = page.partition(begin)
    _, has_end, tail = rest.partition(end)
    assert has_begin, f"docs/wire.md has no {begin!r}"
    assert has_end, f"docs/wire.md has no {end!r}"
    return f"{head}{begin}{text}\n{end}{tail}"


def _yes(value: object) -> str:
    return "yes" if value else "–"


if __name__ == "__main__":
    for path in write_missing():
        sys.stdout.write(f"{path}\n")
    PAGE.write_text(render_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
