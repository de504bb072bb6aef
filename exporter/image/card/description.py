"""The description of one card: everything that makes it another board's than the next."""

from dataclasses import dataclass, field
from typing import Literal

from edge_agent.settings import AgentSettings

Journal = Literal["volatile", "kept"]


@dataclass(frozen=True, slots=True)
class ClaimToken:
    """A claim token, with which the board enrols at its first start.

    Attributes:
        text: as `fieldloop device token` made it.
    """

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """A key and its certificate, made beforehand.

    Attributes:
        key: PEM.
        certificate: PEM, with those of the authorities between it and the root.
    """

    key: bytes = field(repr=False)
    certificate: bytes


@dataclass(frozen=True, slots=True)
class Preloaded:
    """A bundle that scores from the first start on.

    Attributes:
        manifest: its bytes.
        variant: name of the one variant that lies on the card.
        data: that variant's file.
    """

    manifest: bytes
    variant: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wifi:
    """A wireless network.

    Attributes:
        ssid: 1 to 32 bytes.
        passphrase: 8 to 63 printable ASCII characters, or 64 hex digits; None: an open network.
        is_hidden: it does not tell its name.
    """

    ssid: bytes
    passphrase: str | None = field(default=None, repr=False)
    is_hidden: bool = False


@dataclass(frozen=True, slots=True)
class StaticAddress:
    """An address that no server gives.

    Attributes:
        address: with the length of its prefix: ``192.0.2.7/24``.
    """

    address: str
    gateway: str | None = None
    dns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Network:
    """How the board reaches others.

    Attributes:
        ethernet: None: by DHCP.
        country: two letters: which channels are allowed. Needed with `wifi`.
        wifi: the first is preferred.
        time_servers: empty: those of Debian.
    """

    ethernet: StaticAddress | None = None
    country: str | None = None
    wifi: tuple[Wifi, ...] = ()
    time_servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ssh:
    """Who may log in, by key alone; there is no password on a card.

    Attributes:
        user: is made for it.
        keys: lines as in ``authorized_keys``, at least one.
    """

    keys: tuple[str, ...]
    user: str = "operator"


@dataclass(frozen=True, slots=True)
class System:
    """What all cards of one root partition have in common.

    Attributes:
        ssh_user: who may log in; None: no server for it is installed.
        security_updates: the board installs Debian's by itself.
        journal: ``volatile`` is lost at a restart, ``kept`` lies on the data partition.
        watchdog_s: a system that hangs for so long is started again by the hardware; 0: never.
    """

    ssh_user: str | None = None
    security_updates: bool = False
    journal: Journal = "volatile"
    watchdog_s: int = 15
    has_wifi: bool = True


@dataclass(frozen=True, slots=True)
class Card:
    """One card.

    Attributes:
        settings: of the agent, with the paths that a board has (`settings_of`).
        tuf_root: the trusted root of the update repository (``root.json``).
        ca: certificate of the fleet's root, PEM; None: the broker is not known by a certificate.
        claim: how the board comes by its identity; None: it needs none.
        bundle: scores from the first start on; None: the first order brings one.
        files: name and content of what lies in ``/data/files``, rows to replay for example.
        ssh_keys: lines as in ``authorized_keys``; empty: nobody may log in.
    """

    settings: AgentSettings
    tuf_root: bytes
    ca: bytes | None = None
    claim: ClaimToken | Identity | None = None
    bundle: Preloaded | None = None
    files: tuple[tuple[str, bytes], ...] = ()
    network: Network = Network()
    ssh_keys: tuple[str, ...] = ()
    system: System = System()
