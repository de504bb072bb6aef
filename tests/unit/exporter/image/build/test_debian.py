from dataclasses import replace

import pytest

from exporter.image.build.debian import Debian

DEBIAN = Debian("arm64", "bookworm", ("openssl",), ("http://a.example/debian", "http://b.example/security"), None)


def test_python_and_what_was_asked_for_are_installed_and_the_kernel_is_not():
    assert DEBIAN.all_packages == ("kmod", "openssl", "python3")
    assert DEBIAN.unpacked == ("linux-image-arm64", "busybox-static", "raspi-firmware")


def test_firmware_of_radios_is_unpacked_where_it_is_asked_for():
    wanted = replace(DEBIAN, packages=("firmware-brcm80211",))
    assert "firmware-brcm80211" in wanted.unpacked
    assert "firmware-brcm80211" not in wanted.all_packages


def test_security_updates_come_from_their_own_mirror():
    assert DEBIAN.sources[-1] == "deb http://b.example/security bookworm-security main non-free-firmware"


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "armhf"},
        {"suite": "trixie"},
        {"packages": ("openssl", "sudo")},
        {"mirrors": ("http://c.example/debian", "http://b.example/security")},
        {"time_s": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_gives_other_bytes_gives_another_key(change: dict[str, object]):
    assert replace(DEBIAN, **change).key != DEBIAN.key  # type: ignore[arg-type]


def test_the_order_of_packages_is_nobodys_business():
    one, other = (replace(DEBIAN, packages=names) for names in (("sudo", "openssl"), ("openssl", "sudo")))
    assert one.all_packages == other.all_packages
    assert one.key == other.key
