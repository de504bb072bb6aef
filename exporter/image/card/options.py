"""``card.toml``: what a user says of a card. Unknown keys are refused; paths are relative to the file."""

from typing import Annotated

from msgspec import Meta, Struct

from edge_agent.settings import FilePath
from exporter.image.card.description import Journal

Text = Annotated[str, Meta(min_length=1, max_length=1024)]


class WifiOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """A wireless network.

    Attributes:
        ssid: its name.
        passphrase: of it; or better in a file:
        passphrase_file: with the passphrase alone in it. Neither: an open network.
        hidden: it does not tell its name.
    """

    ssid: Text
    passphrase: Text | None = None
    passphrase_file: FilePath | None = None
    hidden: bool = False


class EthernetOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """An address that no server gives.

    Attributes:
        address: with the length of its prefix, as ``192.0.2.7/24``.
        gateway: towards other networks.
        dns: addresses of name servers.
    """

    address: Text
    gateway: Text | None = None
    dns: tuple[Text, ...] = ()


class NetworkOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """How the board reaches others; without, by cable and DHCP.

    Attributes:
        ethernet: absent: DHCP.
        country: two letters; needed with Wi-Fi.
        wifi: networks, the preferred one in front.
        time_servers: absent: those of Debian.
    """

    ethernet: EthernetOptions | None = None
    country: Text | None = None
    wifi: tuple[WifiOptions, ...] = ()
    time_servers: tuple[Text, ...] = ()


class SshOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """Who may log in, by key alone, and act as root by ``sudo``.

    Attributes:
        keys: public keys, or files with them.
        user: is made for it.
    """

    keys: Annotated[tuple[Text, ...], Meta(min_length=1)]
    user: Text = "admin"


class SystemOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """What cards that share a root have in common.

    Attributes:
        wifi: the programs for it are there; absent: where ``network.wifi`` is.
        security_updates: the board installs Debian's by itself.
        journal: ``volatile`` is lost at a restart, ``kept`` lies on the data partition.
        watchdog_s: a system that hangs for so long is started again by the hardware; 0: never.
    """

    wifi: bool | None = None
    security_updates: bool = False
    journal: Journal = "volatile"
    watchdog_s: Annotated[int, Meta(ge=0, le=15)] = 15


class CardOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """All of it.

    Attributes:
        agent: the agent's settings, as they run on this machine: what they name goes onto the card.
        device: in place of ``device`` there.
        token: a claim token's file, in place of ``enrolment.token_file`` there.
        bundle: an update file, whose bundle scores from the first start on.
        ssh: absent: nobody logs in, and no server for it is there.
    """

    agent: FilePath = "agent.toml"
    device: Text | None = None
    token: FilePath | None = None
    bundle: FilePath | None = None
    network: NetworkOptions = NetworkOptions()
    ssh: SshOptions | None = None
    system: SystemOptions = SystemOptions()
