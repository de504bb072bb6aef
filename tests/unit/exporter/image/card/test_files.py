import os
import shutil
import subprocess
from pathlib import PurePosixPath

import msgspec
import pytest

from edge_agent.settings import AgentSettings
from exporter.image.card.description import Card, Network, Placed, System, Wifi
from exporter.image.card.files import CardFile, card_files, card_links, enabled_units, masked_units, root_packages
from exporter.image.errors import CardError
from tests.unit.exporter.image.card.cards import KEY

SETTINGS = msgspec.convert(
    {
        "device": "press-1",
        "fleet": "plant",
        "repository": {"url": "http://updates.example", "root": "/etc/fieldloop/root.json", "model": "rain"},
        "source": {"kind": "http"},
    },
    AgentSettings,
)


def files_of(system: System, **more) -> dict[str, CardFile]:
    return {str(file.path): file for file in card_files(Card(SETTINGS, system=system, **more))}


def test_each_file_lies_on_its_partition():
    for file in files_of(System(), network=Network(country="DE")).values():
        assert file.path.is_relative_to("/data") == (file.partition == "data")
        assert not file.place.is_absolute()


def test_no_path_is_there_twice_and_no_link_takes_a_files_place():
    system = System("anna", has_wifi=True, security_updates=True, journal="kept")
    files = [file.path for file in card_files(Card(SETTINGS, system=system, ssh_keys=(KEY,)))]
    links = [link.path for link in card_links(system)]
    assert len({*files, *links}) == len(files) + len(links)


def test_no_unit_starts_that_is_masked():
    for updates in (False, True):
        system = System("anna", has_wifi=True, security_updates=updates, journal="kept")
        assert not {*enabled_units(system)} & {*masked_units(system)}


def test_the_watchdog_is_as_long_as_it_is_asked_to_be():
    found = files_of(System(watchdog_s=12))["/etc/systemd/system.conf.d/fieldloop.conf"].content
    assert b"RuntimeWatchdogSec=12\n" in found
    assert b"Watchdog" not in files_of(System(watchdog_s=0))["/etc/systemd/system.conf.d/fieldloop.conf"].content
    with pytest.raises(CardError, match="counts to 15"):
        files_of(System(watchdog_s=16))


def test_a_journal_that_is_kept_lies_on_the_data_partition():
    assert b"/data/journal /var/log/journal" in files_of(System(journal="kept"))["/etc/fstab"].content
    assert b"journal" not in files_of(System())["/etc/fstab"].content
    assert b"Storage=volatile" in files_of(System())["/etc/systemd/journald.conf.d/fieldloop.conf"].content
    assert "systemd-journal-flush.service" not in masked_units(System(journal="kept"))


def test_what_the_agent_needs_is_mounted_however_long_it_takes():
    table = files_of(System(security_updates=True, journal="kept"))["/etc/fstab"].content.decode().splitlines()
    options = {place: how.split(",") for _, place, _, how, _, _ in map(str.split, table)}
    assert {"/data", "/etc/fieldloop", "/var/lib/fieldloop", "/var/lib/systemd", "/var/log/journal"} <= options.keys()
    mounted = {place: how for place, how in options.items() if place != "/" and "noauto" not in how}
    assert all("x-systemd.mount-timeout=infinity" in how for how in mounted.values())
    of_a_card = {place for place, how in options.items() if "x-systemd.device-timeout=infinity" in how}
    assert of_a_card == {"/", "/data"}


def test_security_updates_are_an_option():
    assert "unattended-upgrades" in root_packages(System(security_updates=True))
    assert "/etc/apt/apt.conf.d/90fieldloop" in files_of(System(security_updates=True))
    assert "apt-daily.timer" not in masked_units(System(security_updates=True))
    assert "unattended-upgrades" not in root_packages(System())
    assert "apt-daily.timer" in masked_units(System())


def test_networks_that_the_root_cannot_reach_are_refused():
    with pytest.raises(CardError, match="without Wi-Fi"):
        files_of(System(), network=Network(country="DE", wifi=(Wifi(b"plant"),)))


@pytest.mark.parametrize(("user", "keys"), [("anna", ()), (None, (KEY,))])
def test_a_user_without_a_key_and_a_key_without_a_user_are_refused(user, keys):
    with pytest.raises(CardError, match="takes both"):
        files_of(System(user), ssh_keys=keys)


def test_nothing_is_put_where_no_card_has_it():
    with pytest.raises(CardError, match="a card's files lie in"):
        files_of(System(), placed=(Placed(PurePosixPath("/etc/passwd"), b""),))


@pytest.mark.skipif(shutil.which("apt-config") is None, reason="no apt here")
def test_apt_understands_what_it_is_told_of_security_updates(tmp_path):
    text = files_of(System(security_updates=True))["/etc/apt/apt.conf.d/90fieldloop"].content
    (tmp_path / "apt.conf").write_bytes(text)
    environment = {"APT_CONFIG": str(tmp_path / "apt.conf"), "PATH": os.environ["PATH"]}
    told = subprocess.run(["apt-config", "dump"], env=environment, capture_output=True, text=True, check=True).stdout
    assert 'Dir::State::status "/var/lib/dpkg/status";' in told
    assert 'Dir::State "/data/apt/state";' in told
    assert 'DPkg::Pre-Invoke:: "mount -o remount,rw /";' in told
    assert 'Unattended-Upgrade::Origins-Pattern:: "origin=Debian,codename=${distro_codename}-security";' in told
