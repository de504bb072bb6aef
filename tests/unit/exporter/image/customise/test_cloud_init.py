"""Tests of exporter.image.customise.cloud_init; the tool's own word on it is in tests/integration."""

import yaml

from exporter.image.card.description import Network, StaticAddress, Wifi
from exporter.image.customise.cloud_init import is_ours, kernel_word, meta_data, network_config, user_data

KEY = 'ssh-ed25519 AAAA some: "body" # here'


def test_keys_and_names_are_text_whatever_is_in_them():
    told = yaml.safe_load(user_data(user="warden", keys=(KEY,), hostname="no"))
    assert told["hostname"] == "no"
    assert told["user"] == {
        "name": "warden",
        "shell": "/bin/bash",
        "lock_passwd": True,
        "ssh_authorized_keys": [KEY],
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
    }
    assert told["ssh_pwauth"] is False
    assert told["runcmd"][0] == ["systemctl", "enable", "--now", "ssh"]


def test_without_a_user_nobody_logs_in_and_the_name_stays():
    told = yaml.safe_load(user_data(user=None, keys=(), hostname=None))
    assert not {"user", "users", "hostname"} & set(told)
    assert len(told["runcmd"]) == 1


def test_without_a_network_of_its_own_the_images_stays():
    assert network_config(Network(country="CH")) is None


def test_networks_are_told_by_their_own_characters():
    wifi = (Wifi('a "b" ü'.encode(), 'back\\"slash'), Wifi(b"open", None, True))
    told = yaml.safe_load(network_config(Network(country="CH", wifi=wifi)) or b"")
    assert told["network"]["ethernets"]["eth0"] == {"dhcp4": True, "dhcp6": True, "optional": True}
    wlan = told["network"]["wifis"]["wlan0"]
    assert wlan["regulatory-domain"] == "CH"
    assert wlan["access-points"] == {
        'a "b" ü': {"password": 'back\\"slash'},
        "open": {"hidden": True, "auth": {"key-management": "none"}},
    }


def test_a_static_address_is_told_with_its_route_and_name_servers():
    told = yaml.safe_load(network_config(Network(StaticAddress("192.0.2.7/24", "192.0.2.1", ("192.0.2.2",)))) or b"")
    assert told["network"]["ethernets"]["eth0"] == {
        "dhcp4": False,
        "addresses": ["192.0.2.7/24"],
        "routes": [{"to": "default", "via": "192.0.2.1"}],
        "nameservers": {"addresses": ["192.0.2.2"]},
        "optional": True,
    }


def test_the_instance_is_another_when_any_content_is():
    data, instance = meta_data(b"a", b"b")
    assert yaml.safe_load(data) == {"dsmode": "local", "instance-id": instance}
    assert kernel_word(instance) == f"ds=nocloud;i={instance}"
    assert meta_data(b"a", b"b")[1] == instance
    assert meta_data(b"a", b"c")[1] != instance != meta_data(b"ab", b"")[1]


def test_a_seed_of_comments_is_nobodys_and_any_other_is_somebodys():
    assert is_ours(b"#cloud-config\n\n  # hostname: x\n")
    assert is_ours(user_data(user=None, keys=(), hostname="x"))
    assert not is_ours(b"#cloud-config\nhostname: x\n")
