"""The agent's settings: one TOML file becomes one frozen value, or an error that names the key.

Defaults stand beside their fields. Paths are relative to the settings file. What the machine must offer for them
(files, folders, runtimes) is looked at by `problems_here`, because only a running device can tell.
"""

import os
import stat
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from broker.errors import WireError
from broker.topics import DeviceId, FleetId, parse_device, parse_fleet
from edge_agent.configuration import ConfigurationError, load_toml
from edge_agent.errors import SettingsError
from edge_agent.machine_name import name_of_this_machine

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
# What MQTT allows, below the length that brokers take.
MqttTopic = Annotated[str, Meta(min_length=1, max_length=1024, pattern="^[^\\x00]+$")]
MqttName = Annotated[str, Meta(min_length=1, max_length=256)]
Factory = Annotated[str, Meta(min_length=1, max_length=256)]


class BrokerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the MQTT broker listens, and how it is known.

    Attributes:
        keepalive_s: silence after which the link is tested. A test costs 204 bytes under TLS: once a minute, four times
            what the windows cost. Lower it where orders must arrive within minutes through a network that drops quiet
            links; some brokers allow 1200 s at most.
        spread_s: once a steady link broke, the first attempt comes by chance within so long, the later ones after once
            to twice that and more: a fleet that lost its broker comes back evenly. 15 suits 10,000 devices at one
            Mosquitto; a fleet of a few hundred may have 1.
        ca: certificate of the authority that signed the broker's; with it the link is encrypted, without it it is not.
        certificate, key: what this device is known by to the broker.
    """

    host: Host = "127.0.0.1"
    port: Port = 1883
    keepalive_s: Annotated[int, Meta(ge=5, le=65535)] = 1200
    spread_s: Annotated[float, Meta(ge=0, le=3600)] = 15.0
    ca: FilePath | None = None
    certificate: FilePath | None = None
    key: FilePath | None = None


class EnrolmentSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How this device comes by its certificate and renews it; needs the command ``openssl``.

    With it, ``broker.certificate`` and ``broker.key`` are left out, the broker is known by `ca` too, and a broker's
    host and port that are left out are those that the enrolment endpoint tells.

    Attributes:
        url: ``https://host:port`` of the enrolment endpoint.
        ca: certificate of the fleet's root: ``ca.pem`` of its folder.
        token_file: where a claim token may lie; it is removed once it was used.
        renew_at: share of a certificate's life after which it is renewed.
        timeout_s: longest silence of the endpoint.
        retry_min_s, retry_max_s: pause after a failure; it doubles from the first to the second, with chance in it.
    """

    url: str
    ca: FilePath
    token_file: FilePath | None = None
    renew_at: Annotated[float, Meta(gt=0, lt=1)] = 2 / 3
    timeout_s: Seconds = 30.0
    retry_min_s: Seconds = 15.0
    retry_max_s: Seconds = 3600.0


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
        trial_max_memory_bytes: a bundle on trial fails when the agent takes more resident memory with it; absent: what
            its manifest says alone counts.
        trial_max_memory_bytes: Annotated[int, Meta(ge=1)] | None = None
    carried_grace_days: an update file that is brought by hand is taken for so long after its lists have expired.
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
    trial_max_memory_bytes: Annotated[int, Meta(ge=1)] | None = None
    carried_grace_days: Annotated[float, Meta(ge=0, le=36500)] = 30.0


class SourceSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where rows come from.

    Attributes:
        kind: ``csv`` replays a file; ``json_lines`` reads arrays or objects, one a line, from a file or from stdin;
            ``socket`` takes such lines over a Unix socket, ``mqtt`` one a message, ``http`` serves the Open Inference
            Protocol, ``python`` runs the user's own code.
        path: the file, or the socket; ``-`` is stdin (``json_lines`` only).
        columns: names of the columns that the model gets, in its order; empty: the names of the bundle's features.
        first_row, step: ``csv``: every `step`-th row from `first_row` on, so that n devices can share one file.
        end_row: ``csv``: number of the first row that is not replayed; absent: to the end of the file.
        rows_per_second: ``csv``: pace of the replay; absent: as fast as rows can be scored.
        follow: ``json_lines``: the file still grows, its end is no end.
        at_end: ``wait`` stays online for orders and labels when the file has ended, ``stop`` ends the agent.
        host, port: ``mqtt``: the local broker (1883, with TLS 8883); ``http``: where to listen (8000).
        topic: ``mqtt``: what to subscribe to; wildcards are allowed.
        username, password_file, password_env: ``mqtt``: who we are, and the file or the environment variable with the
            password: no setting, no argument and no log ever has it.
        ca, certificate, key: ``mqtt``: as of the fleet's broker.
        factory: ``python``: ``module:factory``, or the name of an entry point of the group ``fieldloop.sources``.
        options: ``python``: what the factory is called with.
        keep: what accepted rows survive until they are counted: ``power`` a power cut (a sync each time), ``process``
            the end of the process; absent: ``power`` where acceptance is acknowledged (``mqtt``, ``http``).
        max_kept_bytes: bound of the rows on the disk that are not counted yet.
        max_waiting_rows: bound of the rows that wait to be scored.
        max_connections, max_body_bytes, timeout_s: ``http``: bounds of a request; the time is that of its arrival, and
            again that of its answer.
    """

    kind: Literal["csv", "json_lines", "socket", "mqtt", "http", "python"]
    path: FilePath | None = None
    columns: tuple[Annotated[str, Meta(min_length=1)], ...] = ()
    first_row: Rows = 0
    step: Annotated[int, Meta(ge=1)] = 1
    end_row: Rows | None = None
    rows_per_second: Rate | None = None
    follow: bool = False
    at_end: Literal["wait", "stop"] = "wait"
    host: Host = "127.0.0.1"
    port: Port | None = None
    topic: MqttTopic | None = None
    username: MqttName | None = None
    password_file: FilePath | None = None
    password_env: MqttName | None = None
    ca: FilePath | None = None
    certificate: FilePath | None = None
    key: FilePath | None = None
    factory: Factory | None = None
    options: dict[str, bool | int | float | str] = {}
    keep: Literal["power", "process"] | None = None
    max_kept_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 40)] = 16 << 20
    max_waiting_rows: Annotated[int, Meta(ge=1, le=4096)] = 1024
    max_connections: Annotated[int, Meta(ge=1, le=1024)] = 16
    max_body_bytes: Annotated[int, Meta(ge=1024, le=64 << 20)] = 1 << 20
    timeout_s: Seconds = 10.0


class SinkSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where predictions go, beside the answers of the source ``http``.

    Attributes:
        kind: ``json_lines`` appends to a file, ``stdout`` writes lines to standard output, ``mqtt`` publishes on a
            topic, ``python`` calls the user's own code, ``none`` keeps none.
        path: ``json_lines``: the file.
        max_file_bytes: ``json_lines``: size at which a new file is begun; the old one becomes ``<path>.1``, and so on.
        kept_files: ``json_lines``: old files that are kept.
        host, port, topic, username, password_file, password_env, ca, certificate, key: ``mqtt``: as of the source.
        factory, options: ``python``: as of the source; the group is ``fieldloop.sinks``.
    """

    kind: Literal["json_lines", "stdout", "mqtt", "python", "none"] = "none"
    path: FilePath | None = None
    max_file_bytes: Annotated[int, Meta(ge=4096, le=1 << 40)] = 8 << 20
    kept_files: Annotated[int, Meta(ge=0, le=1000)] = 4
    host: Host = "127.0.0.1"
    port: Port | None = None
    topic: MqttTopic | None = None
    username: MqttName | None = None
    password_file: FilePath | None = None
    password_env: MqttName | None = None
    ca: FilePath | None = None
    certificate: FilePath | None = None
    key: FilePath | None = None
    factory: Factory | None = None
    options: dict[str, bool | int | float | str] = {}


class ScoringSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How rows are scored.

    Attributes:
        prefer: which variant of a bundle to run: the first of these that an installed runtime can run, else the best.
        max_batch_rows: rows that one call of the runtime may score where so many wait; 1: each by itself. None waits
            longer for it than a hundredth of a second.
        abstain_below: a label of less confidence is not given: the answer says that it abstains. 0: every label is.
    """

    prefer: tuple[Annotated[str, Meta(min_length=1)], ...] = ()
    max_batch_rows: Annotated[int, Meta(ge=1, le=64)] = 64
    abstain_below: Share = 0.0


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
        device, fleet: who this is; the names stand in topics. A ``*`` in the device's stands for ten hex digits that
            are this machine's own, so that many cards can be written alike.
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
    enrolment: EnrolmentSettings | None = None

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
    try:
        settings = msgspec.structs.replace(settings, device=name_of_this_machine(settings.device))
    except SettingsError as error:
        raise SettingsError(f"{path}: key 'device': {error}") from error
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
    if not _is_web_address(settings.repository.url):
        problems.append(f"key 'repository.url': {settings.repository.url!r} is not an http:// or https:// address")
    if settings.repository.retry_min_s > settings.repository.retry_max_s:
        problems.append("key 'repository.retry_min_s': greater than repository.retry_max_s")
    problems += _problems_of_tls("broker", settings.broker)
    if settings.enrolment is not None:
        problems += _problems_of_enrolment(settings.enrolment, settings.broker)
    problems += _problems_of_place("source", settings.source.kind, settings.source)
    problems += _problems_of_place("sink", settings.sink.kind, settings.sink)
    if settings.source.kind != "json_lines" and settings.source.path == STDIN:
        problems.append("key 'source.path': only the source 'json_lines' reads stdin ('-')")
    if settings.sink.topic is not None and set(settings.sink.topic) & set("+#"):
        problems.append("key 'sink.topic': answers are published on one topic; + and # are for subscriptions")
    if settings.source.topic is not None and not _is_filter(settings.source.topic):
        problems.append("key 'source.topic': + stands for one whole level, # for the last ones, as in press/+/rows")
    if len(set(settings.source.columns)) != len(settings.source.columns):
        problems.append("key 'source.columns': a column is named twice")
    return tuple(problems)


def _is_web_address(text: str) -> bool:
    try:
        url = urlsplit(text)
    except ValueError:
        return False
    return url.scheme in {"http", "https"} and bool(url.netloc)


def _problems_of_tls(section: str, place: BrokerSettings | SourceSettings | SinkSettings) -> list[str]:
    problems: list[str] = []
    if (place.certificate is None) != (place.key is None):
        problems.append(f"key '{section}.certificate': it and {section}.key belong together; give both or neither")
    if place.certificate is not None and place.ca is None:
        problems.append(f"key '{section}.ca': missing; a certificate is only shown to a broker that is known itself")
    return problems


def _problems_of_enrolment(enrolment: EnrolmentSettings, broker: BrokerSettings) -> list[str]:
    problems: list[str] = []
    try:
        url = urlsplit(enrolment.url)
        is_address = url.scheme == "https" and bool(url.hostname) and url.port != 0 and url.path in {"", "/"}
    except ValueError:
        is_address = False
    if not is_address:
        problems.append(f"key 'enrolment.url': {enrolment.url!r} is not an address like https://host:8884")
    if broker.certificate is not None:
        problems.append("key 'broker.certificate': leave it and broker.key out; [enrolment] keeps its own in 'state'")
    if enrolment.retry_min_s > enrolment.retry_max_s:
        problems.append("key 'enrolment.retry_min_s': greater than enrolment.retry_max_s")
    return problems


def problems_here(settings: AgentSettings) -> tuple[str, ...]:
    """List what these settings need and this machine does not offer; looks at the disk, changes nothing."""
    problems: list[str] = []
    if not os.access(settings.repository.root, os.R_OK):
        problems.append(f"key 'repository.root': {settings.repository.root} cannot be read; copy root.json there")
    source, sink = settings.source, settings.sink
    problems += [
        f"key '{section}.{key}': {path} cannot be read"
        for section, place in (("broker", settings.broker), ("source", source), ("sink", sink))
        for key, path in _tls_files(place).items()
        if path is not None and not os.access(path, os.R_OK)
    ]
    if settings.enrolment is not None:
        problems += _enrolment_here(settings.enrolment)
    if source.path not in {None, STDIN}:
        path = Path(source.path or "")
        if source.kind == "socket" and not _can_be_written(path.parent):
            problems.append(f"key 'source.path': the folder of {path} cannot be made or written")
        if source.kind != "socket" and not os.access(path, os.R_OK):
            problems.append(f"key 'source.path': {path} cannot be read")
    problems += _problems_of_password("source", source) + _problems_of_password("sink", sink)
    if not _can_be_written(Path(settings.state)):
        problems.append(f"key 'state': folder {settings.state} cannot be made or written")
    if settings.sink.path is not None and not _can_be_written(Path(settings.sink.path).parent):
        problems.append(f"key 'sink.path': the folder of {settings.sink.path} cannot be made or written")
    return tuple(problems)


def _enrolment_here(enrolment: EnrolmentSettings) -> list[str]:
    import shutil  # noqa: PLC0415 - where something enrols

    problems: list[str] = []
    if not os.access(enrolment.ca, os.R_OK):
        problems.append(f"key 'enrolment.ca': {enrolment.ca} cannot be read; copy the fleet's ca.pem there")
    if shutil.which("openssl") is None:
        problems.append("key 'enrolment': there is no command openssl here; apt-get install openssl")
    return problems


def read_password(path: Path) -> str:
    """Return the password that a file holds, without the end of its line; raise OSError if it holds none."""
    try:
        password = path.read_text(encoding="utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise OSError("holds no text; write the password alone into it") from error
    if not password:
        raise OSError("is empty; write the password into it")
    return password


def _problems_of_password(section: str, place: SourceSettings | SinkSettings) -> list[str]:
    problems: list[str] = []
    name, file = place.password_env, place.password_file
    if name is not None and name not in os.environ:
        problems.append(f"key '{section}.password_env': there is no variable {name} in the environment")
    if file is not None:
        try:
            read_password(Path(file))
            if Path(file).stat().st_mode & stat.S_IRWXO:
                problems.append(f"key '{section}.password_file': everybody may read {file}; chmod 600 {file}")
        except OSError as error:
            problems.append(f"key '{section}.password_file': {file}: {error.strerror or error}")
    return problems


def _tls_files(place: BrokerSettings | SourceSettings | SinkSettings) -> dict[str, str | None]:
    return {"ca": place.ca, "certificate": place.certificate, "key": place.key}


def _can_be_written(folder: Path) -> bool:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


# What a kind cannot do without, and what for.
_NEEDED = {
    ("source", "csv"): ("path", "a file"),
    ("source", "json_lines"): ("path", "a file, or - for stdin"),
    ("source", "socket"): ("path", "the path of its socket"),
    ("source", "mqtt"): ("topic", "a topic"),
    ("source", "python"): ("factory", "module:factory"),
    ("sink", "json_lines"): ("path", "a file"),
    ("sink", "mqtt"): ("topic", "a topic"),
    ("sink", "python"): ("factory", "module:factory"),
}


def _problems_of_place(section: str, kind: str, place: SourceSettings | SinkSettings) -> list[str]:
    """List what a source or a sink of this kind lacks."""
    problems = _problems_of_tls(section, place)
    key, what = _NEEDED.get((section, kind), ("kind", ""))
    if getattr(place, key) is None:
        problems.append(f"key '{section}.{key}': missing; the {section} {kind!r} needs {what}")
    passwords = [key for key in ("password_env", "password_file") if getattr(place, key) is not None]
    if passwords and place.username is None:
        problems.append(f"key '{section}.username': missing; a password alone says nothing")
    if len(passwords) > 1 and kind == "mqtt":
        problems.append(f"key '{section}.password_env': {section}.password_file is there too; give one of them")
    if kind == "http" and (place.ca is not None or place.username is not None):
        problems.append(f"key '{section}.ca': the source 'http' has no TLS and no password; see who may ask it")
    return problems


def _is_filter(topic: str) -> bool:
    """Tell whether a topic filter has its wildcards where MQTT has them."""
    levels = topic.split("/")
    return all(level in {"+", "#"} or not set(level) & set("+#") for level in levels) and "#" not in levels[:-1]


def _anchored(settings: AgentSettings, folder: Path) -> AgentSettings:
    """Return the settings with paths that no longer depend on the working directory."""
    replace = msgspec.structs.replace

    def below(path: str | None) -> str | None:
        return path if path is None or path == STDIN else str(folder / path)

    def files_of(place: BrokerSettings | SourceSettings | SinkSettings) -> dict[str, str | None]:
        files = _tls_files(place)
        if not isinstance(place, BrokerSettings):
            files |= {"path": place.path, "password_file": place.password_file}
        return {key: below(path) for key, path in files.items()}

    enrolment = settings.enrolment
    if enrolment is not None:
        token = enrolment.token_file
        enrolment = replace(
            enrolment, ca=str(folder / enrolment.ca), token_file=None if token is None else str(folder / token)
        )
    return replace(
        settings,
        enrolment=enrolment,
        broker=replace(settings.broker, **files_of(settings.broker)),
        state=str(folder / settings.state),
        repository=replace(settings.repository, root=str(folder / settings.repository.root)),
        source=replace(settings.source, **files_of(settings.source)),
        sink=replace(settings.sink, **files_of(settings.sink)),
    )
