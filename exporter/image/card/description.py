"""The description of one card: everything that makes it another board's than the next."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from edge_agent.settings import AgentSettings

Journal = Literal["volatile", "kept"]


@dataclass(frozen=True, slots=True)
class Placed:
    """A file that the agent's settings name.

    Attributes:
        path: where the settings look for it, on the board.
        is_secret: nobody but the agent may read it.
    """

    path: PurePosixPath
    content: bytes = field(repr=False)
    is_secret: bool = False


@dataclass(frozen=True, slots=True)
class Preloaded:
    """A bundle that scores from the first start on; whoever made this has checked its signatures.

    Attributes:
        manifest: its bytes.
        variant: name of the one variant that lies on the card.
        data: that variant's file.
        metadata: name and content of the signed lists that vouch for it: older ones are refused from then on.
    """

    manifest: bytes = field(repr=False)
    variant: str
    data: bytes = field(repr=False)
    metadata: tuple[tuple[PurePosixPath, bytes], ...] = field(default=(), repr=False)


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
        gateway: None: the board reaches its own network alone.
        dns: addresses of name servers.
    """

    address: str
    gateway: str | None = None
    dns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Network:
    """How the board reaches others.

    Attributes:
        ethernet: None: by DHCP.
        country: two capital letters, which say what channels are allowed; needed with `wifi`.
        wifi: the first is preferred.
        time_servers: names or addresses; empty: those of Debian.
    """

    ethernet: StaticAddress | None = None
    country: str | None = None
    wifi: tuple[Wifi, ...] = ()
    time_servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class System:
    """What all cards of one root partition have in common.

    Attributes:
        ssh_user: who may log in, by key alone; None: no server for it is installed.
        has_wifi: the firmware and the programs for it are there.
        security_updates: the board installs Debian's by itself.
        journal: ``volatile`` is lost at a restart, ``kept`` lies on the data partition.
        watchdog_s: a system that hangs for so long is started again by the hardware; 0: never. A Raspberry Pi's
            counts to 15.
    """

    ssh_user: str | None = None
    has_wifi: bool = False
    security_updates: bool = False
    journal: Journal = "volatile"
    watchdog_s: int = 15


@dataclass(frozen=True, slots=True)
class Card:
    """One card.

    Attributes:
        settings: of the agent, as they stand on the card: with the paths of a board (`agent_settings`).
        placed: the files that these settings name.
        bundle: scores from the first start on; None: the first order brings one.
        ssh_keys: lines as in ``authorized_keys``; empty: nobody may log in.
    """

    settings: AgentSettings
    placed: tuple[Placed, ...] = ()
    bundle: Preloaded | None = None
    network: Network = Network()
    ssh_keys: tuple[str, ...] = ()
    system: System = System()
