import pytest

from exporter.image.card.description import Network, StaticAddress, Wifi
from exporter.image.card.network_files import network_files
from exporter.image.errors import CardError


def files_of(network: Network) -> dict[str, tuple[str, int]]:
    return {file.path.name: (file.content.decode(), file.mode) for file in network_files(network)}


def test_by_default_nothing_lies_on_the_card():
    assert files_of(Network()) == {}


def test_an_address_that_no_server_gives():
    static = StaticAddress("192.0.2.7/24", "192.0.2.1", ("192.0.2.1", "2001:db8::1"))
    text, _ = files_of(Network(ethernet=static))["wired.network"]
    assert text == (
        "[Match]\nType=ether\n\n[Network]\nAddress=192.0.2.7/24\nGateway=192.0.2.1\nDNS=192.0.2.1\nDNS=2001:db8::1\n"
    )


@pytest.mark.parametrize(
    ("static", "why"),
    [
        (StaticAddress("192.0.2.7"), "prefix is missing"),
        (StaticAddress("192.0.2.7/32"), "prefix is missing"),
        (StaticAddress("192.0.2.7/24\nGateway=1"), "not an address like"),
        (StaticAddress("192.0.2.7/24", "198.51.100.1"), "does not lie in"),
        (StaticAddress("192.0.2.7/24", "gateway"), "not an address"),
        (StaticAddress("192.0.2.7/24", None, ("dns\n[Match]",)), "not an address"),
    ],
)
def test_it_refuses_what_is_no_address(static, why):
    with pytest.raises(CardError, match=why):
        files_of(Network(ethernet=static))


def test_wireless_networks_are_private_and_the_first_is_preferred():
    network = Network(
        country="DE", wifi=(Wifi(b"plant", "correct horse"), Wifi(b"yard", "a" * 64, is_hidden=True), Wifi(b"open"))
    )
    text, mode = files_of(network)["wpa_supplicant.conf"]
    assert mode == 0o600
    assert text == (
        "country=DE\nupdate_config=0\n"
        'network={\n\tssid=706c616e74\n\tpriority=3\n\tpsk="correct horse"\n'
        "\tkey_mgmt=WPA-PSK SAE\n\tieee80211w=1\n}\n\n"
        f"network={{\n\tssid=79617264\n\tpriority=2\n\tscan_ssid=1\n\tpsk={'a' * 64}\n\tkey_mgmt=WPA-PSK\n}}\n\n"
        "network={\n\tssid=6f70656e\n\tpriority=1\n\tkey_mgmt=NONE\n}\n"
    )


@pytest.mark.parametrize("ssid", [b'a"\n}\nnetwork={', b"\x00\xff", 'caf"é'.encode()])
def test_no_name_of_a_network_is_anything_but_a_name(ssid):
    text, _ = files_of(Network(country="DE", wifi=(Wifi(ssid),)))["wpa_supplicant.conf"]
    assert f"\tssid={ssid.hex()}\n" in text
    assert text.count("network={") == 1


@pytest.mark.parametrize(
    ("wifi", "why"),
    [
        (Wifi(b""), "has 0 bytes"),
        (Wifi(b"a" * 33), "has 33 bytes"),
        (Wifi(b"a", "short"), "8 to 63 printable"),
        (Wifi(b"a", "a" * 64 + "b"), "8 to 63 printable"),
        (Wifi(b"a", 'correct"\n\tkey_mgmt=NONE'), "8 to 63 printable"),
        (Wifi(b"a", "passwörter"), "8 to 63 printable"),
    ],
)
def test_it_refuses_what_is_no_network(wifi, why):
    with pytest.raises(CardError, match=why) as refused:
        files_of(Network(country="DE", wifi=(wifi,)))
    assert wifi.passphrase is None or wifi.passphrase not in str(refused.value)


@pytest.mark.parametrize("country", [None, "de", "DEU", "D\n", "DE\n"])
def test_radio_needs_a_country(country):
    with pytest.raises(CardError, match="two capital letters"):
        files_of(Network(country=country, wifi=(Wifi(b"a"),)))


def test_time_servers_are_names_or_addresses():
    text, _ = files_of(Network(time_servers=("ntp.example", "192.0.2.1", "2001:db8::1")))["timesyncd.conf"]
    assert text == "[Time]\nNTP=ntp.example 192.0.2.1 2001:db8::1\n"


@pytest.mark.parametrize("server", ["", "a b", "a\nb", "-a", "[Time]", "a..b", "x" * 254])
def test_it_refuses_what_is_no_time_server(server):
    with pytest.raises(CardError, match="time server"):
        files_of(Network(time_servers=(server,)))
