"""The rule of the firewall is one that nft takes, and loading it again replaces it."""

import shutil
import subprocess

import pytest

from broker.servers.firewall import LINK_BURST_KBYTES, LINK_MBYTES_PER_S, render_firewall
from broker.servers.mosquitto_server import MAX_QUEUED
from trainer.monitoring.rates import RateLimit

PATH = "/usr/sbin:/sbin:/usr/bin:/bin"


def test_a_link_may_send_what_a_monitor_takes_of_a_device_and_no_burst_that_overflows_the_monitors_queue():
    assert RateLimit().bytes_per_s < LINK_MBYTES_PER_S * 1_000_000
    smallest_message_bytes = 40
    assert LINK_BURST_KBYTES * 1000 / smallest_message_bytes <= MAX_QUEUED


def test_nft_takes_the_rule_twice_and_has_it_once(tmp_path):
    if shutil.which("nft", path=PATH) is None or shutil.which("unshare", path=PATH) is None:
        pytest.skip("no nft here: apt-get install nftables")
    own_network = ["unshare", "--user", "--map-root-user", "--net"]
    if subprocess.run([*own_network, "nft", "list", "ruleset"], env={"PATH": PATH}, check=False).returncode:
        pytest.skip("this user may make no network of its own")
    rule = tmp_path / "fieldloop.nft"
    rule.write_text(render_firewall(8883), encoding="ascii")
    script = 'nft -f "$1" && nft -f "$1" && nft list ruleset'
    command = [*own_network, "sh", "-c", script, "sh", str(rule)]
    loaded = subprocess.run(command, text=True, capture_output=True, check=False, env={"PATH": PATH})
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.count("tcp dport 8883") == 2
