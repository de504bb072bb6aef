"""Reads ``card.toml`` and all that it names into one `Card`."""

from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from edge_agent.configuration import ConfigurationError, load_toml
from edge_agent.enrolment.claim_token import read_token
from edge_agent.errors import SettingsError
from edge_agent.scoring.selection import Device
from edge_agent.settings import AgentSettings
from exporter.image.card.agent_settings import settings_on_card
from exporter.image.card.credentials import verify_authority, verify_pair, verify_trusted_root
from exporter.image.card.description import Card, Network, Preloaded, StaticAddress, System, Wifi
from exporter.image.card.options import CardOptions, NetworkOptions, SshOptions, WifiOptions
from exporter.image.card.signed_bundle import load_signed
from exporter.image.errors import CardError

# Of one file; rows to replay are the largest.
MAX_FILE_BYTES: Final = 256 << 20

StructT = TypeVar("StructT", bound=Struct)


def load_card(path: Path, board: Device, *, device: str | None = None, token: Path | None = None) -> Card:
    """Read a card.

    Args:
        path: of ``card.toml``.
        board: what the card is for: decides which variant of the bundle lies on it.
        device: name of the device, in place of what the files say.
        token: file with its claim token, in place of what the files say.

    Raises:
        CardError: something is missing or wrong; the message names file and key.
    """
    options = _load(path, CardOptions)
    folder = path.absolute().parent
    agent = folder / options.agent
    settings = _load(agent, AgentSettings)
    settings = msgspec.structs.replace(settings, device=device or options.device or settings.device)
    if token is None:
        token = _token_named(settings, agent.parent) if options.token is None else folder / options.token
    secret = None if token is None else _token(token, settings)
    on_card, placed = settings_on_card(settings, lambda name: _read(agent.parent / name), secret)
    content = {str(each.path): each.content for each in placed}
    _verify(on_card, content)
    bundle = None
    if options.bundle is not None:
        bundle = _bundle(folder / options.bundle, on_card, content[on_card.repository.root], board)
    ssh = options.ssh
    wants_wifi = options.system.wifi
    return Card(
        settings=on_card,
        placed=placed,
        bundle=bundle,
        network=_network(options.network, folder),
        ssh_keys=() if ssh is None else _keys(ssh, folder),
        system=System(
            ssh_user=None if ssh is None else ssh.user,
            has_wifi=bool(options.network.wifi) if wants_wifi is None else wants_wifi,
            security_updates=options.system.security_updates,
            journal=options.system.journal,
            watchdog_s=options.system.watchdog_s,
        ),
    )


def _load(path: Path, into: type[StructT]) -> StructT:
    try:
        return load_toml(path, into)
    except ConfigurationError as error:
        raise CardError(str(error)) from error


def _token_named(settings: AgentSettings, folder: Path) -> Path | None:
    """Return where the agent's settings say that a token lies; an absolute path is the board's own."""
    file = None if settings.enrolment is None else settings.enrolment.token_file
    return None if file is None or file.startswith("/") else folder / file


def _token(path: Path, settings: AgentSettings) -> bytes:
    if settings.enrolment is None:
        raise CardError(
            f"{path}: a claim token is shown to an endpoint; the agent's settings name none, under [enrolment]"
        )
    try:
        token = read_token(path)
    except SettingsError as error:
        raise CardError(str(error)) from error
    if token.fleet != settings.fleet:
        raise CardError(f"claim token {path}: it is for fleet {token.fleet}, the agent's settings say {settings.fleet}")
    return f"{token.text}\n".encode()


def _verify(settings: AgentSettings, content: dict[str, bytes]) -> None:
    """Look at what the settings name: is it what it is taken for, and of this fleet?"""
    verify_trusted_root(content[settings.repository.root])
    broker, enrolment = settings.broker, settings.enrolment
    for path in (broker.ca, None if enrolment is None else enrolment.ca):
        if path in content:
            verify_authority(path, content[path])
    if broker.certificate in content and broker.key in content:
        verify_pair(content[broker.certificate], content[broker.key])


def _bundle(path: Path, settings: AgentSettings, root: bytes, board: Device) -> Preloaded:
    grace_s = settings.repository.carried_grace_days * 86400
    return load_signed(path, root, board, prefer=settings.scoring.prefer, grace_s=grace_s)


def _network(options: NetworkOptions, folder: Path) -> Network:
    ethernet = options.ethernet
    return Network(
        ethernet=None if ethernet is None else StaticAddress(ethernet.address, ethernet.gateway, ethernet.dns),
        country=options.country,
        wifi=tuple(_wifi(each, folder) for each in options.wifi),
        time_servers=options.time_servers,
    )


def _wifi(options: WifiOptions, folder: Path) -> Wifi:
    passphrase = options.passphrase
    if options.passphrase_file is not None:
        if passphrase is not None:
            raise CardError(f"network.wifi {options.ssid!r}: passphrase and passphrase_file; give one of them")
        try:
            passphrase = _read(folder / options.passphrase_file).decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise CardError(f"{options.passphrase_file}: holds no text; write the passphrase alone into it") from error
    return Wifi(options.ssid.encode(), passphrase, options.hidden)


def _keys(options: SshOptions, folder: Path) -> tuple[str, ...]:
    """Return the keys; what does not begin like one is the path of a file with some."""
    found: list[str] = []
    for each in options.keys:
        if " " in each.strip():
            found.append(each)
            continue
        text = _read(folder / Path(each).expanduser()).decode("ascii", "replace")
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        if not lines:
            raise CardError(f"{each}: holds no SSH key")
        found += lines
    return tuple(found)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CardError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_FILE_BYTES:
        raise CardError(f"{path}: has more than {MAX_FILE_BYTES} bytes; too much for a card")
    return data
