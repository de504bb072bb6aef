"""The parts of local brokers that decide without starting anything."""

import pytest

from broker.errors import BrokerStartError
from broker.messages import MAX_PACKET_BYTES
from broker.servers import local
from broker.servers.embedded import main
from broker.servers.loopback import verify_loopback
from broker.servers.mosquitto import find_mosquitto, render_config


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1"])
def test_the_embedded_broker_takes_loopback(host):
    verify_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "10.0.0.1", "example.org", "", "localhost.evil.org"])  # noqa: S104
def test_the_embedded_broker_refuses_every_other_interface_with_the_reason(host, caplog):
    with pytest.raises(BrokerStartError, match=r"loopback only.*cannot tell clients apart"):
        verify_loopback(host)
    assert main(["--host", host, "--port", "1"]) == 1
    assert "loopback only" in caplog.text


def test_mosquitto_listens_on_loopback_only_with_bounded_queues_and_sizes(tmp_path):
    lines = render_config(tmp_path, 1884, is_root=False).splitlines()
    assert [line for line in lines if "listener" in line] == ["listener 1884 127.0.0.1"]
    assert f"max_packet_size {MAX_PACKET_BYTES}" in lines
    assert f"persistence_location {tmp_path}/" in lines
    bounded = {line.split()[0]: int(line.split()[1]) for line in lines if line.startswith("max_")}
    assert set(bounded) == {"max_inflight_messages", "max_queued_messages", "max_queued_bytes", "max_packet_size"}
    assert all(bound > 0 for bound in bounded.values()), "0 means without bound"


def test_mosquitto_keeps_the_user_that_started_it_even_when_that_is_root(tmp_path):
    assert "user root" in render_config(tmp_path, 1884, is_root=True).splitlines()
    assert "user root" not in render_config(tmp_path, 1884, is_root=False).splitlines()


def test_mosquitto_is_found_on_the_path_that_is_given(tmp_path):
    assert find_mosquitto(str(tmp_path)) is None
    program = tmp_path / "mosquitto"
    program.touch(mode=0o755)
    assert find_mosquitto(str(tmp_path)) == program


def test_a_broker_that_is_not_installed_is_named_with_the_way_to_mend_it(tmp_path, monkeypatch):
    monkeypatch.setattr("broker.servers.mosquitto.find_mosquitto", lambda: None)
    with pytest.raises(BrokerStartError, match="apt-get install mosquitto"):
        local.start_local_broker(tmp_path, kind="mosquitto")
    monkeypatch.setattr("shutil.which", lambda *_args, **_options: None)
    with pytest.raises(BrokerStartError, match="where apt-get and dpkg are"):
        local.start_local_broker(tmp_path, kind="unpacked", cache=tmp_path / "cache")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(BrokerStartError, match="pip install"):
        local.start_local_broker(tmp_path, kind="auto", cache=tmp_path / "cache")
