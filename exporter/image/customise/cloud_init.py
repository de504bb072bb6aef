"""Writes what cloud-init reads on the boot partition (NoCloud): Raspberry Pi OS of trixie, from the end of 2025 on.

The keys are those that Raspberry Pi Imager writes (rpi-imager, src/customization_generator.cpp); one more command puts
the agent in place. YAML's flow form is that of JSON, in which nothing that a user gave can be anything but text.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Final

from exporter.image.card.description import Network, Wifi
from exporter.image.customise.first_run import APPLY, BOOT, FOLDER, LOG, MARK, PAYLOAD

USER_DATA: Final = "user-data"
NETWORK: Final = "network-config"
META_DATA: Final = "meta-data"
_ID_DIGITS: Final = 16
_COMMENT: Final = re.compile(r"\s*(#.*)?$")

_HEAD: Final = f"# Written by `{MARK}`."
# As a system starts for the first time: nothing is waited for, and nothing is taken back.
_APPLY: Final = (
    f"sh {BOOT}/{FOLDER}/{APPLY} first-run {BOOT}/{FOLDER}/{PAYLOAD} >{BOOT}/{LOG} 2>&1 && rm -rf {BOOT}/{FOLDER}; "
    "sync; "
    "systemctl daemon-reexec; systemctl try-restart systemd-journald systemd-timesyncd; "
    "systemctl --no-block start fieldloop-agent"
)


def user_data(*, user: str | None, keys: Sequence[str], hostname: str | None) -> bytes:
    """Return ``user-data``.

    Args:
        user: who may log in; None: nobody, and the image's own user has no password.
        keys: lines of his ``authorized_keys``, verified.
        hostname: the board's name; None: it keeps the image's.
    """
    lines = ["#cloud-config", _HEAD, "manage_resolv_conf: false"]
    if hostname is not None:
        lines += [f"hostname: {_text(hostname)}", "manage_etc_hosts: true"]
    commands = []
    if user is None:
        lines.append("ssh_pwauth: false")
    else:
        # `user`, not `users`: the image's own one is renamed, and keeps its groups.
        lines += ["user:", f"  name: {_text(user)}", "  shell: /bin/bash", "  lock_passwd: true"]
        lines += ["  ssh_authorized_keys:", *(f"    - {_text(key)}" for key in keys)]
        lines += [f"  sudo: {_text('ALL=(ALL) NOPASSWD:ALL')}", "ssh_pwauth: false"]
        commands.append(["systemctl", "enable", "--now", "ssh"])
    commands.append(["sh", "-c", _APPLY])
    lines += ["runcmd:", *(f"  - {json.dumps(command)}" for command in commands)]
    return ("\n".join(lines) + "\n").encode()


def network_config(network: Network) -> bytes | None:
    """Return ``network-config`` (netplan, version 2); None: the image's own, which is DHCP by cable."""
    if network.ethernet is None and not network.wifi:
        return None
    lines = [_HEAD, "network:", "  version: 2", "  ethernets:", "    eth0:"]
    static = network.ethernet
    if static is None:
        lines += ["      dhcp4: true", "      dhcp6: true"]
    else:
        lines += ["      dhcp4: false", f"      addresses: [{_text(static.address)}]"]
        if static.gateway is not None:
            lines.append(f"      routes: [{{to: default, via: {_text(static.gateway)}}}]")
        if static.dns:
            lines.append(f"      nameservers: {{addresses: {json.dumps(static.dns)}}}")
    lines.append("      optional: true")
    if network.wifi:
        lines += [
            "  wifis:",
            "    wlan0:",
            "      dhcp4: true",
            f"      regulatory-domain: {_text(network.country or '')}",
        ]
        lines.append("      access-points:")
        for wifi in network.wifi:
            lines += _access_point(wifi)
        lines.append("      optional: true")
    return ("\n".join(lines) + "\n").encode()


def meta_data(*contents: bytes) -> tuple[bytes, str]:
    """Return ``meta-data`` and the instance's id in it, which changes when the contents do: then all is done anew."""
    digest = hashlib.sha256(b"\0".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()
    instance = f"fieldloop-{digest[:_ID_DIGITS]}"
    return f"{_HEAD}\ndsmode: local\ninstance-id: {instance}\n".encode(), instance


def kernel_word(instance: str) -> str:
    """Return what the kernel's command line says, so that a later start does not look for the seed again."""
    return f"ds=nocloud;i={instance}"


def is_ours(content: bytes) -> bool:
    """Tell whether a seed file is ours, or holds nothing but comments, as the image's own does."""
    text = content.decode(errors="replace")
    return MARK in text or all(_COMMENT.match(line) for line in text.splitlines())


def _access_point(wifi: Wifi) -> list[str]:
    # Text, not bytes: what Imager writes for them, YAML reads as other characters.
    lines = [f"        {_text(wifi.ssid.decode())}:"]
    if wifi.is_hidden:
        lines.append("          hidden: true")
    if wifi.passphrase is None:
        lines += ["          auth:", "            key-management: none"]
    else:
        # Beside `auth`, not in it: then netplan takes WPA2 and WPA3.
        lines.append(f"          password: {_text(wifi.passphrase)}")
    return lines


def _text(text: str) -> str:
    return json.dumps(text)
