from dataclasses import replace

import pytest

from exporter.image.build.debian import Debian, explain_failure

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


def test_without_updates_there_is_one_line_of_what_was_released():
    without = replace(DEBIAN, mirrors=("http://a.example/debian", None))
    assert without.sources == ("deb http://a.example/debian bookworm main non-free-firmware",)
    assert without.key != DEBIAN.key


def test_a_mirror_that_was_left_half_renewed_is_named_though_it_was_said_long_before_the_end():
    # What it said on 25 November 2026.
    said = [
        "I: running apt-get update...",
        "Err:7 http://b.example/security bookworm-security/main armhf Packages",
        "E: Failed to fetch http://b.example/security/Packages.xz  File has unexpected size (334084 != 351504).",
        *("I: removing tempdir", "W: ", "W: ", "W: ", "W: ", "W: ", "E: mmdebstrap failed to run"),
    ]
    told = str(explain_failure(25, said))
    assert "http://b.example/security/Packages.xz  File has unexpected size" in told
    assert "--security-mirror none" in told


def test_another_failure_is_told_by_its_last_words():
    told = str(explain_failure(25, ["I: installing", "E: Unable to locate package no-such"]))
    assert told == "mmdebstrap failed (exit code 25): I: installing / E: Unable to locate package no-such"
