"""The agent's settings: one TOML file becomes one frozen value, or an error that names the key.

Defaults stand beside their fields. Paths are relative to the settings file. What the machine must offer for them
(files, folders, runtimes) is looked at by `problems_here`, because only a running device can tell.
"""

import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from broker.errors import WireError
from broker.topics import DeviceId, FleetId, parse_device, parse_fleet
from edge_agent.configuration import ConfigurationError, load_toml
from edge_agent.errors import SettingsError

STDIN = "-"

# A path as text: relative to the settings file there, absolute in what `load_settings` returns.
FilePath = Annotated[str, Meta(min_length=1, max_length=4096)]
Host = Annotated[str, Meta(min_length=1, max_length=253)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Rows = Annotated[int, Meta(ge=0)]
# Finite, and not longer than what every timer takes: poll(2) counts milliseconds in 31 bits.
Seconds = Annotated[float, Meta(gt=0, le=1e6)]
Rate = Annotated[float, Meta(gt=0, le=1e9)]
Share = Annotated[float, Meta(ge=0, le=1)]


class BrokerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the MQTT broker listens, and how it is known.

    Attributes:
        keepalive_s: silence after which the link is tested. A test costs 204 bytes under TLS: once a minute, four times
            what the windows cost. Lower it where orders must arrive within minutes through a network that drops quiet
            links; some brokers allow 1200 s at most.
        ca: certificate of the authority that signed the broker's; with it the link is encrypted, without it it is not.
        certificate, key: what this device is known by to the broker.
    """

    host: Host = "127.0.0.1"
    port: Port = 1883
    keepalive_s: Annotated[int, Meta(ge=5, le=65535)] = 1200
    ca: FilePath | None = None
    certificate: FilePath | None = None
    key: FilePath | None = None


class RepositorySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where bundles come from, and whom to trust.

    Attributes:
        url: base URL of the update repository; ``metadata/`` and ``targets/`` lie below it.
        root: file with the trusted root metadata (``root.json``), brought to the device by hand or by its image.
        model: name of the bundles that this device takes; an order for another one is refused.
        timeout_s: longest silence of the server before a download counts as failed.
        min_bytes_per_s: least average rate of a download that takes longer than `timeout_s`; slower ones have failed.
        stage_timeout_s: longest time for fetching and proving one bundle.
        retry_min_s, retry_max_s: pause before the next attempt when the repository cannot be reached; it doubles from
            the first to the second, with chance in it, so that a fleet does not come back all at once.
        spare_disk_bytes: room that must be left on the disk after a bundle was stored.
    """

    url: str
    root: FilePath
    model: Annotated[str, Meta(min_length=1, max_length=64)]
    timeout_s: Seconds = 30.0
    min_bytes_per_s: Rate = 256.0
    stage_timeout_s: Seconds = 900.0
    retry_min_s: Seconds = 5.0
    retry_max_s: Seconds = 900.0
    spare_disk_bytes: Annotated[int, Meta(ge=0)] = 16 << 20


class SourceSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where rows come from.

    Attributes:
        kind: ``csv`` replays a file; ``json_lines`` reads arrays or objects, one a line, from a file or from stdin.
        path: the file; ``-`` is stdin (``json_lines`` only).
        columns: names of the columns that the model gets, in its order; empty: the names of the bundle's features.
        first_row, step: ``csv``: every `step`-th row from `first_row` on, so that n devices can share one file.
        end_row: ``csv``: number of the first row that is not replayed; absent: to the end of the file.
        rows_per_second: ``csv``: pace of the replay; absent: as fast as rows can be scored.
        follow: ``json_lines``: the file still grows, its end is no end.
        at_end: ``wait`` stays online for orders and labels when the file has ended, ``stop`` ends the agent.
    """

    kind: Literal["csv", "json_lines"]
    path: FilePath
    columns: tuple[Annotated[str, Meta(min_length=1)], ...] = ()
    first_row: Rows = 0
    step: Annotated[int, Meta(ge=1)] = 1
    end_row: Rows | None = None
    rows_per_second: Rate | None = None
    follow: bool = False
    at_end: Literal["wait", "stop"] = "wait"


class SinkSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where predictions go: JSON lines appended to `path`, or nowhere."""

    kind: Literal["json_lines", "none"] = "none"
    path: FilePath | None = None


class ScoringSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Which variant of a bundle to run: the first name of `prefer` that an installed runtime can run, else the best."""

    prefer: tuple[Annotated[str, Meta(min_length=1)], ...] = ()


class TelemetrySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What is told about the scoring.

    Attributes:
        background_rows: rows of each window that are sent as samples, chosen by chance.
        max_label_share: greatest share of all scored rows that is ever sent as samples.
        spool_max_bytes: bound of the spool's database (its log of at most a megabyte stands beside it); over it, it
            thins by its rule and counts what it gave up.
        spool_max_age_days: what waits for longer is given up and counted; days in which the agent runs, whatever the
            clock says.
        resend_after_s: records that nobody stored by then are sent again.
        max_window_s: a window closes at this age even if it has few rows.
        windows_together: windows of ten seconds and more are sent so many at a time, which halves what they cost on the
            wire; each waits for so many times its own length at most. 1: each is sent at once.
    """

    background_rows: Annotated[int, Meta(ge=0, le=1024)] = 5
    max_label_share: Share = 0.3
    spool_max_bytes: Annotated[int, Meta(ge=64 << 10)] = 64 << 20
    spool_max_age_days: Annotated[float, Meta(gt=0, le=10_000)] = 90.0
    resend_after_s: Seconds = 10.0
    max_window_s: Seconds = 600.0
    windows_together: Annotated[int, Meta(ge=1, le=8)] = 3


class AgentSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of one agent.

    Attributes:
        device, fleet: who this is; the names stand in topics.
        state: folder of everything that the agent keeps: spool, slots, update metadata. One agent a folder.
    """

    device: str
    fleet: str
    repository: RepositorySettings
    source: SourceSettings
    state: FilePath = "state"
    broker: BrokerSettings = BrokerSettings()
    sink: SinkSettings = SinkSettings()
    scoring: ScoringSettings = ScoringSettings()
    telemetry: TelemetrySettings = TelemetrySettings()

    @property
    def device_id(self) -> DeviceId:
        """The device's name as it stands in topics."""
        return parse_device(self.device)

    @property
    def fleet_id(self) -> FleetId:
        """The fleet's name as it stands in topics."""
        return parse_fleet(self.fleet)


def load_settings(path: Path) -> AgentSettings:
    """Read and check a settings file; its relative paths become absolute.

    Raises:
        SettingsError: unreadable, an unknown key, or values that cannot be; the message names every problem found.
    """
    try:
        settings = load_toml(path, AgentSettings)
    except ConfigurationError as error:
        raise SettingsError(str(error)) from error
    problems = problems_of(settings)
    if problems:
        raise SettingsError("\n".join(f"{path}: {problem}" for problem in problems))
    return _anchored(settings, path.absolute().parent)


def problems_of(settings: AgentSettings) -> tuple[str, ...]:
    """List what contradicts itself in settings whose types are right."""
    problems: list[str] = []
    for key, parse, text in (("device", parse_device, settings.device), ("fleet", parse_fleet, settings.fleet)):
        try:
            parse(text)
        except WireError as error:
            problems.append(f"key {key!r}: {error}")
    url = urlsplit(settings.repository.url)
    if url.scheme not in {"http", "https"} or not url.netloc:
        problems.append(f"key 'repository.url': {settings.repository.url!r} is not an http:// or https:// address")
    if settings.repository.retry_min_s > settings.repository.retry_max_s:
        problems.append("key 'repository.retry_min_s': greater than repository.retry_max_s")
    if (settings.broker.certificate is None) != (settings.broker.key is None):
        problems.append("key 'broker.certificate': it and broker.key belong together; give both or neither")
    if settings.broker.certificate is not None and settings.broker.ca is None:
        problems.append("key 'broker.ca': missing; a certificate is only shown to a broker that is known itself")
    if settings.sink.kind == "json_lines" and settings.sink.path is None:
        problems.append("key 'sink.path': missing; the sink 'json_lines' needs a file")
    if settings.source.kind == "csv" and settings.source.path == STDIN:
        problems.append("key 'source.path': only the source 'json_lines' reads stdin ('-')")
    if len(set(settings.source.columns)) != len(settings.source.columns):
        problems.append("key 'source.columns': a column is named twice")
    return tuple(problems)


def problems_here(settings: AgentSettings) -> tuple[str, ...]:
    """List what these settings need and this machine does not offer; looks at the disk, changes nothing."""
    problems: list[str] = []
    if not os.access(settings.repository.root, os.R_OK):
        problems.append(f"key 'repository.root': {settings.repository.root} cannot be read; copy root.json there")
    for key, path in _tls_files(settings.broker).items():
        if path is not None and not os.access(path, os.R_OK):
            problems.append(f"key 'broker.{key}': {path} cannot be read")
    if settings.source.path != STDIN and not os.access(settings.source.path, os.R_OK):
        problems.append(f"key 'source.path': {settings.source.path} cannot be read")
    if not _can_be_written(Path(settings.state)):
        problems.append(f"key 'state': folder {settings.state} cannot be made or written")
    if settings.sink.path is not None and not _can_be_written(Path(settings.sink.path).parent):
        problems.append(f"key 'sink.path': the folder of {settings.sink.path} cannot be made or written")
    return tuple(problems)


def _tls_files(broker: BrokerSettings) -> dict[str, str | None]:
    return {"ca": broker.ca, "certificate": broker.certificate, "key": broker.key}


def _can_be_written(folder: Path) -> bool:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def _anchored(settings: AgentSettings, folder: Path) -> AgentSettings:
    """Return the settings with paths that no longer depend on the working directory."""
    replace = msgspec.structs.replace
    source, sink = settings.source.path, settings.sink.path
    tls = {key: None if path is None else str(folder / path) for key, path in _tls_files(settings.broker).items()}
    return replace(
        settings,
        broker=replace(settings.broker, **tls),
        state=str(folder / settings.state),
        repository=replace(settings.repository, root=str(folder / settings.repository.root)),
        source=replace(settings.source, path=source if source == STDIN else str(folder / source)),
        sink=replace(settings.sink, path=None if sink is None else str(folder / sink)),
    )
