"""Says to NetworkManager, which Raspberry Pi OS has, how a board reaches others (nm-settings-keyfile(5))."""

import ipaddress
import re
import uuid
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from exporter.image.card.contents import PRIVATE, CardFile
from exporter.image.card.description import Network, StaticAddress, Wifi
from exporter.image.card.network_files import network_files

_FOLDER: Final = PurePosixPath("/etc/NetworkManager/system-connections")
# So that the same network is the same connection, however often it is written.
_NAMESPACE: Final = uuid.UUID("5a3b0d5e-8f0e-5d3c-9f5e-0f1e1d100b00")
_KEY: Final = re.compile("[0-9A-Fa-f]{64}")


def connections(network: Network) -> Iterator[CardFile]:
    """Yield a file for each connection.

    Raises:
        CardError: an address, a name or a passphrase cannot be one.
    """
    # They are held to the same rules as on a card of ours.
    tuple(network_files(network))
    if network.ethernet is not None:
        yield _file("fieldloop-ethernet", "ethernet", _wired(network.ethernet))
    for place, wifi in enumerate(network.wifi):
        yield _file(f"fieldloop-wifi-{place + 1}", "wifi", _wireless(wifi), priority=len(network.wifi) - place)


def _file(name: str, kind: str, sections: str, *, priority: int = 0) -> CardFile:
    head = f"[connection]\nid={name}\nuuid={uuid.uuid5(_NAMESPACE, name)}\ntype={kind}\n"
    if priority:
        head += f"autoconnect-priority={priority}\n"
    return CardFile(_FOLDER / f"{name}.nmconnection", f"{head}\n{sections}".encode(), PRIVATE, "root")


def _wired(static: StaticAddress) -> str:
    address = ipaddress.ip_interface(static.address)
    ours, other = ("ipv4", "ipv6") if isinstance(address, ipaddress.IPv4Interface) else ("ipv6", "ipv4")
    lines = [f"[{ours}]", "method=manual", f"address1={address}"]
    if static.gateway is not None:
        lines.append(f"gateway={static.gateway}")
    servers = [server for server in static.dns if ipaddress.ip_address(server).version == address.version]
    if servers:
        lines.append(f"dns={';'.join(servers)};")
    lines += ["", f"[{other}]", "method=auto"]
    others = [server for server in static.dns if server not in servers]
    if others:
        lines.append(f"dns={';'.join(others)};")
    return "\n".join(lines) + "\n"


def _wireless(wifi: Wifi) -> str:
    # As numbers of its bytes: a name can hold any.
    lines = ["[wifi]", "mode=infrastructure", f"ssid={''.join(f'{byte};' for byte in wifi.ssid)}"]
    if wifi.is_hidden:
        lines.append("hidden=true")
    if wifi.passphrase is not None:
        psk = wifi.passphrase.lower() if _KEY.fullmatch(wifi.passphrase) else _escaped(wifi.passphrase)
        lines += ["", "[wifi-security]", "key-mgmt=wpa-psk", f"psk={psk}"]
    return "\n".join([*lines, "", "[ipv4]", "method=auto", "", "[ipv6]", "method=auto", ""])


def _escaped(text: str) -> str:
    """Return a value of a key file of GLib: a space in front, and every backslash, would be read otherwise."""
    text = text.replace("\\", "\\\\")
    return f"\\s{text[1:]}" if text.startswith(" ") else text
