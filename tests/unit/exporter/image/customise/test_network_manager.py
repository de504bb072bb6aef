"""Tests of exporter.image.customise.network_manager."""

import configparser

import pytest

from exporter.image.card.description import Network, StaticAddress, Wifi
from exporter.image.customise.network_manager import connections
from exporter.image.errors import CardError


def sections(network: Network) -> list[configparser.ConfigParser]:
    found = []
    for file in connections(network):
        assert file.mode == 0o600
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(file.content.decode())
        found.append(parser)
    return found


def test_dhcp_by_cable_needs_no_file():
    assert sections(Network()) == []


def test_a_static_address_is_told_with_its_gateway_and_name_servers_of_each_kind():
    (wired,) = sections(Network(StaticAddress("192.0.2.7/24", "192.0.2.1", ("192.0.2.2", "2001:db8::1"))))
    assert dict(wired["ipv4"]) == {
        "method": "manual",
        "address1": "192.0.2.7/24",
        "gateway": "192.0.2.1",
        "dns": "192.0.2.2;",
    }
    assert dict(wired["ipv6"]) == {"method": "auto", "dns": "2001:db8::1;"}


def test_an_address_of_version_6_is_told_as_such():
    (wired,) = sections(Network(StaticAddress("2001:db8::7/64")))
    assert dict(wired["ipv6"]) == {"method": "manual", "address1": "2001:db8::7/64"}
    assert dict(wired["ipv4"]) == {"method": "auto"}


def test_the_first_wireless_network_is_preferred_and_names_are_bytes():
    first, second = sections(Network(country="CH", wifi=(Wifi(b"a;\xff", "correct horse"), Wifi(b"open", None, True))))
    assert first["wifi"]["ssid"] == "97;59;255;"
    assert int(first["connection"]["autoconnect-priority"]) > int(second["connection"]["autoconnect-priority"])
    assert dict(first["wifi-security"]) == {"key-mgmt": "wpa-psk", "psk": "correct horse"}
    assert second["wifi"]["hidden"] == "true"
    assert "wifi-security" not in second


def test_a_passphrase_is_written_so_that_a_key_file_of_glib_reads_it_as_it_is():
    (wifi,) = sections(Network(country="CH", wifi=(Wifi(b"net", " back\\slash"),)))
    assert wifi["wifi-security"]["psk"] == r"\sback\\slash"


def test_the_same_network_is_the_same_connection():
    network = Network(StaticAddress("192.0.2.7/24"))
    assert tuple(connections(network)) == tuple(connections(network))


@pytest.mark.parametrize(
    "network",
    [
        Network(StaticAddress("192.0.2.7")),
        Network(wifi=(Wifi(b"net", "correct horse"),)),
        Network(country="CH", wifi=(Wifi(b"net", "short"),)),
    ],
)
def test_what_a_card_of_ours_refuses_is_refused_here(network: Network):
    with pytest.raises(CardError):
        tuple(connections(network))
