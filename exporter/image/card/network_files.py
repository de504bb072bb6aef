"""How a board reaches others: what systemd-networkd, wpa_supplicant and systemd-timesyncd are told."""

import ipaddress
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from exporter.image.card.contents import DATA, PLAIN, PRIVATE, CardFile
from exporter.image.card.description import Network, StaticAddress, Wifi
from exporter.image.errors import CardError

FOLDER: Final = DATA / "card"
WIRED: Final = FOLDER / "wired.network"
WIRELESS: Final = FOLDER / "wpa_supplicant.conf"
TIME: Final = FOLDER / "timesyncd.conf"

# Where the root partition looks for them; a link to none is passed over by who reads it.
LINKS: Final = (
    (PurePosixPath("/etc/systemd/network/10-card.network"), WIRED),
    (PurePosixPath("/etc/wpa_supplicant/wpa_supplicant-wlan0.conf"), WIRELESS),
    (PurePosixPath("/etc/systemd/timesyncd.conf.d/20-card.conf"), TIME),
)

_MAX_SSID_BYTES: Final = 32
# IEEE 802.11 annex M: a passphrase; or the key itself.
_PASSPHRASE: Final = re.compile(r"[\x20-\x7e]{8,63}")
_KEY: Final = re.compile("[0-9A-Fa-f]{64}")
_COUNTRY: Final = re.compile("[A-Z]{2}")
_HOST: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}))*\.?")


def network_files(network: Network) -> Iterator[CardFile]:
    """Yield the files of the data partition that say how a board reaches others.

    Raises:
        CardError: an address, a name or a passphrase cannot be one.
    """
    if network.ethernet is not None:
        yield CardFile(WIRED, wired_network(network.ethernet).encode(), PLAIN, "data")
    if network.wifi:
        yield CardFile(WIRELESS, wpa_supplicant(network).encode(), PRIVATE, "data")
    if network.time_servers:
        for server in network.time_servers:
            verify_host(server, "time server")
        text = f"[Time]\nNTP={' '.join(network.time_servers)}\n"
        yield CardFile(TIME, text.encode(), PLAIN, "data")


def wired_network(static: StaticAddress) -> str:
    """Return what systemd-networkd is told of an address that no server gives; raise CardError as `network_files`."""
    try:
        interface = ipaddress.ip_interface(static.address)
    except ValueError as error:
        raise CardError(f"address {static.address!r}: not an address like 192.0.2.7/24") from error
    if "/" not in static.address or interface.network.num_addresses == 1:
        raise CardError(f"address {static.address!r}: the length of its prefix is missing, as in 192.0.2.7/24")
    lines = ["[Match]", "Type=ether", "", "[Network]", f"Address={interface}"]
    if static.gateway is not None:
        gateway = _address(static.gateway, "gateway")
        if gateway not in interface.network:
            raise CardError(f"gateway {gateway}: does not lie in {interface.network}")
        lines.append(f"Gateway={gateway}")
    lines += [f"DNS={_address(server, 'name server')}" for server in static.dns]
    return "\n".join(lines) + "\n"


def wpa_supplicant(network: Network) -> str:
    """Return what wpa_supplicant is told; raise CardError as `network_files`.

    Names and passphrases are written as hex: no character of theirs can be anything but a character.
    """
    if network.country is None or _COUNTRY.fullmatch(network.country) is None:
        raise CardError(
            f"country {network.country!r}: two capital letters say which channels are allowed; Wi-Fi needs them"
        )
    blocks = [_wifi(wifi, len(network.wifi) - place) for place, wifi in enumerate(network.wifi)]
    return "\n".join((f"country={network.country}", "update_config=0", *blocks))


def verify_host(name: str, what: str) -> None:
    """Raise CardError where this is neither a host's name nor an address."""
    if _HOST.fullmatch(name) is None:
        _address(name, what)


def _wifi(wifi: Wifi, priority: int) -> str:
    if not 1 <= len(wifi.ssid) <= _MAX_SSID_BYTES:
        raise CardError(
            f"Wi-Fi network {wifi.ssid!r}: its name has {len(wifi.ssid)} bytes; 1 to {_MAX_SSID_BYTES} are one"
        )
    lines = [f"ssid={wifi.ssid.hex()}", f"priority={priority}"]
    if wifi.is_hidden:
        lines.append("scan_ssid=1")
    if wifi.passphrase is None:
        lines.append("key_mgmt=NONE")
    elif _KEY.fullmatch(wifi.passphrase):
        lines += [f"psk={wifi.passphrase.lower()}", "key_mgmt=WPA-PSK"]
    elif _PASSPHRASE.fullmatch(wifi.passphrase):
        # In quotes, as it stands: the last quote of the line ends it, and no line can end within.
        lines += [f'psk="{wifi.passphrase}"', "key_mgmt=WPA-PSK SAE", "ieee80211w=1"]
    else:
        raise CardError(
            f"Wi-Fi network {wifi.ssid!r}: its passphrase has 8 to 63 printable ASCII characters, or 64 hex digits"
        )
    return "network={\n" + "".join(f"\t{line}\n" for line in lines) + "}\n"


def _address(text: str, what: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        raise CardError(f"{what} {text!r}: not an address") from error
