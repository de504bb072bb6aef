"""Gathers what devices and monitor recorded into one summary: figures, a JSON file, a table, a picture.

Every figure is computed from files that the devices wrote and from the monitor's database, after the fact.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from sqlalchemy import func, select

from edge_agent.bundle import MANIFEST_NAME, Manifest, parse_manifest
from edge_agent.durable import replace_file
from edge_agent.errors import RowError
from edge_agent.live import SPOOL_NAME
from edge_agent.scoring.device import read_device
from edge_agent.scoring.loading import open_runtime
from edge_agent.scoring.scorer import Scorer
from edge_agent.scoring.selection import choose_variant
from edge_agent.telemetry.spool import load_counts
from trainer.continuous.books import StoryEvent
from trainer.demo.devices import DeviceProcess
from trainer.demo.outcome import (
    Answer,
    Comparison,
    DeviceOutcome,
    ScoredRow,
    compare,
    outcome_of_device,
    rolling_quality,
    row_at,
)
from trainer.demo.plot import Curve, Moment, draw
from trainer.demo.records import read_predictions
from trainer.monitoring.fleet import DeviceTotals, intake_totals, list_events, totals_of_devices
from trainer.monitoring.ledger import list_orders
from trainer.monitoring.store import Store
from trainer.monitoring.tables import LABELS, WINDOWS
from trainer.project.project import LoadedProject

JSON_NAME, PNG_NAME, PAGE_NAME = "summary.json", "accuracy.png", "accuracy.html"
_SPANS = 25
_STORY_COLOURS = {"sign": "#b8860b", "confirmed": "#b22222", "gathered": "#7b3fa0", "promoted": "#2e7d32"}


@dataclass(frozen=True, slots=True)
class Update:
    """A bundle that a device committed.

    Attributes:
        seconds: from the order to the commit; None for an order that is not in the books.
    """

    device: str
    bundle: str
    committed_utc_s: float
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of it. Qualities are accuracy, or R² for regression; rows are numbers in the data."""

    project: str
    metric: str
    seed: int
    broker: str
    static_accuracy: float | None
    loop_accuracy: float | None
    compared_rows: int
    first_switch_row: int | None
    devices: tuple[DeviceOutcome, ...]
    records_sent: int
    records_stored: int
    records_resent: int
    duplicates: int
    rows_scored: int
    rows_dropped: int
    rows_refused: int
    rows_labelled: int
    restarts: int
    updates: tuple[Update, ...]
    story: tuple[tuple[float, str, str], ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Played:
    """How it was played.

    Attributes:
        broker: kind of broker that was used.
        story: the turns of the story.
        seconds: how long it took.
        interrupted: the devices were ended before their last rows: rows that they did not come to are not dropped.
    """

    broker: str
    story: Sequence[StoryEvent]
    seconds: float
    interrupted: bool


def summarise(
    loaded: LoadedProject,
    store: Store,
    devices: Sequence[DeviceProcess],
    truth: Mapping[int, Answer],
    static: Mapping[int, Answer],
    played: Played,
) -> tuple[Summary, tuple[ScoredRow, ...]]:
    """Compute the summary.

    Args:
        loaded: the project.
        store: the monitor's database.
        devices: the devices, stopped or not.
        truth: row to its label or value.
        static: row to what the first bundle answers.
        played: how it was played.

    Returns:
        The summary, and all rows that the fleet scored, in the order of time.
    """
    regression = loaded.project.target.task == "regression"
    by_device = {device.device: read_predictions(device.predictions) for device in devices}
    scored = tuple(
        sorted((row for rows in by_device.values() for row in rows), key=lambda row: (row.at_utc_s, row.row))
    )
    comparison: Comparison = compare(scored, static, truth, regression=regression)
    counted = _count_rows(store)
    done = totals_of_devices(store)
    dropped = 0
    for device in devices:
        its = done.get(device.device, DeviceTotals())
        rows = device.share.rows
        reached = max((row.row for row in by_device[device.device]), default=-1) if played.interrupted else rows.stop
        dropped += max(0, sum(row <= reached for row in rows) - its.rows_scored - its.rows_refused)
    totals = intake_totals(store)
    summary = Summary(
        project=loaded.project.name,
        metric=loaded.project.metric if not regression else "r2",
        seed=loaded.project.seed,
        broker=played.broker,
        static_accuracy=comparison.static_quality,
        loop_accuracy=comparison.loop_quality,
        compared_rows=comparison.rows,
        first_switch_row=comparison.first_switch_row,
        devices=tuple(
            outcome_of_device(device, rows, truth, regression=regression) for device, rows in by_device.items()
        ),
        records_sent=sum(records_put(device) for device in devices),
        records_stored=totals.records,
        records_resent=totals.resent,
        duplicates=counted.twice,
        rows_scored=counted.scored,
        rows_dropped=dropped,
        rows_refused=counted.refused,
        rows_labelled=counted.labelled,
        restarts=sum(device.restarts for device in devices),
        updates=_updates(store),
        story=tuple((event.at_utc_s, event.kind, event.text) for event in played.story),
        seconds=played.seconds,
    )
    return summary, scored


def score_static(bundle: Path, rows: Mapping[int, Sequence[str]]) -> dict[int, Answer]:
    """Score rows with one bundle through the code that devices run; rows that it refuses are left out.

    Args:
        bundle: its folder.
        rows: number to raw values, in the order of the bundle's features.
    """
    manifest = load_manifest(bundle)
    variant = choose_variant(manifest.variants, read_device())
    scorer = Scorer(manifest, open_runtime(variant, bundle, manifest))
    answers: dict[int, Answer] = {}
    for number, values in rows.items():
        try:
            prediction = scorer.score(values)
        except RowError:
            continue
        answers[number] = prediction.value if prediction.label is None else prediction.label
    scorer.close()
    return answers


def load_manifest(bundle: Path) -> Manifest:
    """Read the manifest of a bundle's folder; raise BundleError when it is none."""
    return parse_manifest((bundle / MANIFEST_NAME).read_bytes())


def write_summary(folder: Path, summary: Summary) -> Path:
    """Write ``summary.json``; return its path."""
    path = folder / JSON_NAME
    replace_file(path, json.dumps(asdict(summary), indent=1).encode() + b"\n")
    return path


def draw_summary(
    folder: Path,
    summary: Summary,
    scored: Sequence[ScoredRow],
    truth: Mapping[int, Answer],
    static: Mapping[int, Answer],
    *,
    documented_drift_row: int | None,
    note: str,
) -> tuple[Path, Path]:
    """Draw quality over rows; return the paths of the PNG and of the page."""
    regression = summary.metric == "r2"
    loop = {row.row: row.answer for row in scored}
    span = max(20, len(loop) // _SPANS)
    known = {row: static[row] for row in loop if row in static}
    curves = [
        Curve(name, colour, *rolling_quality(answers, truth, span=span, regression=regression))
        for name, colour, answers in (
            ("first model, never changed", "#8a8f98", known),
            ("the loop", "#1565c0", loop),
        )
    ]
    moments = [] if documented_drift_row is None else [Moment(documented_drift_row, "drift (documented)", "#555555")]
    for at_utc_s, kind, _ in summary.story:
        row = row_at(scored, at_utc_s)
        if kind in _STORY_COLOURS and row is not None:
            moments.append(Moment(row, kind, _STORY_COLOURS[kind]))
    if summary.first_switch_row is not None:
        moments.append(Moment(summary.first_switch_row, "first switch", "#0d47a1"))
    png, page = folder / PNG_NAME, folder / PAGE_NAME
    draw(
        png,
        page,
        title=f"{summary.project}: {summary.metric} over {span} rows, on {len(summary.devices)} devices",
        metric=summary.metric,
        curves=curves,
        moments=moments,
        facts=facts_of(summary),
        note=note,
    )
    return png, page


def facts_of(summary: Summary) -> list[tuple[str, str]]:
    """Return the summary's figures in words, for a table."""
    return [
        (f"{summary.metric}, first model, on the rows from the first switch on", _figure(summary.static_accuracy)),
        (f"{summary.metric}, the loop, on the same {summary.compared_rows:,} rows", _figure(summary.loop_accuracy)),
        (
            "rows scored / refused / dropped",
            f"{summary.rows_scored:,} / {summary.rows_refused:,} / {summary.rows_dropped:,}",
        ),
        ("rows labelled", f"{summary.rows_labelled:,} ({summary.rows_labelled / max(1, summary.rows_scored):.0%})"),
        ("records sent = stored", f"{summary.records_sent:,} = {summary.records_stored:,}"),
        ("duplicates stored", f"{summary.duplicates:,} (sent again and recognised: {summary.records_resent:,})"),
        ("broker", summary.broker),
        ("seconds", f"{summary.seconds:.0f}"),
    ]


def _figure(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"


@dataclass(frozen=True, slots=True)
class _Counted:
    scored: int
    refused: int
    twice: int
    labelled: int


def _count_rows(store: Store) -> _Counted:
    """Count rows in stored windows; windows of one device that overlap would count a row twice."""
    query = select(WINDOWS.c.device, WINDOWS.c.first_row, WINDOWS.c.last_row).order_by(
        WINDOWS.c.device, WINDOWS.c.first_row
    )
    with store.reading() as connection:
        scored = connection.execute(select(func.sum(WINDOWS.c.rows_scored))).scalar() or 0
        refused = connection.execute(select(func.sum(WINDOWS.c.rows_refused))).scalar() or 0
        labelled = connection.execute(select(func.count()).select_from(LABELS)).scalar() or 0
        spans = connection.execute(query).all()
    twice = sum(
        earlier.device == later.device and later.first_row <= earlier.last_row for earlier, later in pairwise(spans)
    )
    return _Counted(int(scored), int(refused), twice, int(labelled))


def records_put(device: DeviceProcess) -> int:
    """Return how many records a device has sent or will send: what its spool took and did not thin out."""
    spool = device.state / SPOOL_NAME
    if not spool.exists():  # ended before its agent had made one
        return 0
    return sum(counts.put - counts.merged - counts.dropped for counts in load_counts(spool).values())


def _updates(store: Store) -> tuple[Update, ...]:
    issued = {(order.device, order.order_id): order.issued_utc_s for order in list_orders(store)}
    return tuple(
        Update(
            event.device,
            str(event.bundle),
            event.at_utc_s,
            event.at_utc_s - issued[key] if (key := (event.device, event.order_id or "")) in issued else None,
        )
        for event in list_events(store)
        if event.kind == "committed"
    )
