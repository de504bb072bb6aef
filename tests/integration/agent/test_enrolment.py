"""A device that comes by its certificate itself, scores meanwhile, and renews; with a real Mosquitto and endpoint."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker.client import Endpoint
from broker.enrolment.decisions import EnrolmentRules
from broker.identity.folder import FleetFolder
from broker.identity.keys import make_request
from broker.identity.names import Identity, Role
from edge_agent.clock import SystemClock
from edge_agent.enrolment.identity_file import Held, read_held, write_identity
from edge_agent.settings import load_settings
from edge_agent.wiring import Agent
from exporter.repository.carrying import export_update
from tests.bundles import write_rows
from tests.fleet_server import (
    SecureBroker,
    make_fleet,
    real_utc_s,
    registrar_of,
    running_broker,
    running_endpoint,
    running_front,
    why_not,
)
from tests.integration.agent.conftest import UpdateRepository
from tests.integration.agent.station import Station
from tests.ports import free_port
from tests.receiver import Receiver
from tests.waiting import wait_until

DAY_S = 86_400.0
YEAR_S = 365 * DAY_S
N_ROWS = 4000


@dataclass
class World:
    """A fleet with a broker, a receiver and one station that has a claim token."""

    folder: Path
    fleet: FleetFolder
    broker: SecureBroker
    receiver: Receiver
    updates: UpdateRepository
    enrolment_port: int

    @property
    def token(self) -> Path:
        return self.folder / "one" / "token"

    def station(self, *, more: str = "", source: str = "rows_per_second = 400") -> Station:
        folder = self.folder / "one"
        folder.mkdir(exist_ok=True)
        rows = write_rows(folder / "rows.csv", N_ROWS)
        telemetry = (
            "resend_after_s = 1.0\nbackground_rows = 1\nwindows_together = 1\nmax_window_s = 1.0\n"
            f'[enrolment]\nurl = "https://127.0.0.1:{self.enrolment_port}"\nca = "{self.fleet.ca}"\n'
            f'token_file = "token"\nretry_min_s = 0.2\nretry_max_s = 1.0\n{more}'
        )
        return Station(
            folder,
            "one",
            self.broker.endpoint,
            self.updates.server.url,
            self.updates.root,
            rows,
            source=source,
            telemetry=telemetry,
        )

    def put_token(self) -> None:
        with registrar_of(self.fleet) as registrar:
            self.token.parent.mkdir(exist_ok=True)
            self.token.write_text(registrar.make_token(3600).text + "\n")
            self.token.chmod(0o600)


@pytest.fixture
def world(tmp_path: Path, updates: UpdateRepository) -> Iterator[World]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    port = free_port()
    fleet = make_fleet(tmp_path / "fleet", port=port)
    with running_broker(fleet, tmp_path / "broker", port) as broker:
        receiver = Receiver(broker.plain)
        receiver.start()
        wait_until(lambda: receiver.is_connected)
        yield World(tmp_path, fleet, broker, receiver, updates, free_port())
        receiver.close()


def held_by(station: Station) -> object:
    return read_held(station.folder / "state")


def test_a_device_scores_before_it_is_enrolled_and_then_enrols_by_itself(world: World):
    world.put_token()
    station = world.station()
    install_a_bundle(world, station)
    station.start()
    try:
        # There is nobody at the endpoint yet: it has no certificate, and scores.
        wait_until(lambda: len(station.answered_rows()) > 50, 30, "rows are scored without a certificate")
        assert held_by(station) is None
        with running_endpoint(world.fleet, port=world.enrolment_port):
            wait_until(lambda: world.receiver.windows("one"), 30, f"windows arrive; {station.log.read_text()}")
            wait_until(lambda: world.receiver.events("one", "certificate"), 10)
        assert not world.token.exists()
        register = world.fleet.open_register()
        assert [identity.name for identity in register.view().active] == ["one"]
        register.close()
    finally:
        station.stop()
    identity = station.folder / "state" / "identity.pem"
    assert identity.stat().st_mode & 0o777 == 0o600
    assert not (station.folder / "state" / "identity-next.key").exists()


@pytest.mark.slow
def test_renewals_while_it_runs_lose_no_row(world: World):
    world.put_token()
    # Renewed every few seconds, while four thousand rows are scored.
    station = world.station(more="renew_at = 0.1\n", source="rows_per_second = 160")
    install_a_bundle(world, station)
    with running_endpoint(world.fleet, port=world.enrolment_port, rules=EnrolmentRules(device_days=20 / 86_400)):
        station.start()
        try:
            wait_until(lambda: world.receiver.rows("one") >= N_ROWS, 90, "all rows are stored")
            wait_until(lambda: len(world.receiver.events("one", "certificate")) >= 3, 60, "it renewed twice")
        finally:
            station.stop()
    assert world.receiver.rows("one") == N_ROWS
    _, renewal, *_ = world.receiver.events("one", "certificate")
    assert renewal.at_utc_s < world.receiver.windows("one")[-1].ended_utc_s
    links = world.broker.log.read_text().count("New client connected from 127.0.0.1")
    assert links >= 3
    register = world.fleet.open_register()
    assert len(register.certificates("one")) >= 3
    register.close()


class YearsOff:
    """The clock of a board that nobody told the time."""

    def __init__(self, off_s: float) -> None:
        self._off_s = off_s
        self._clock = SystemClock()

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s()

    def utc_s(self) -> float:
        return self._clock.utc_s() + self._off_s


def test_a_device_whose_certificate_ended_while_it_was_off_renews_and_connects(world: World):
    long_ago_s = real_utc_s() - 40 * DAY_S
    station = world.station()
    state = station.folder / "state"
    state.mkdir()
    key, request = make_request()
    with registrar_of(world.fleet, lambda: long_ago_s) as registrar:
        identity = registrar.add(Identity(Role.DEVICE, "one"))
        issued = registrar.sign(world.fleet.open_issuer(), request, identity)
    ends_s = issued.not_after_utc_s
    held = Held("one", "test", ends_s - 1, ends_s, long_ago_s, "127.0.0.1", world.broker.endpoint.port, "")
    write_identity(state, held, key, issued.chain)
    with Agent(load_settings(station.write_settings()), SystemClock()) as agent:
        running = threading.Thread(target=agent.run)
        running.start()
        try:
            # The broker refuses it: nobody renews it yet.
            wait_until(lambda: "certificate verify failed" in world.broker.log.read_text(), 20)
            assert world.receiver.status("one") is None
            with running_endpoint(world.fleet, port=world.enrolment_port):
                wait_until(lambda: world.receiver.status("one") is not None, 30)
                wait_until(lambda: world.receiver.events("one", "certificate"), 20)
        finally:
            agent.stop()
            running.join()


@pytest.mark.parametrize("off_years", [-50, 25])
def test_an_agent_whose_clock_is_years_off_enrols_and_connects(world: World, off_years: int):
    world.put_token()
    station = world.station()
    clock = YearsOff(off_years * YEAR_S)
    with (
        running_endpoint(world.fleet, port=world.enrolment_port),
        Agent(load_settings(station.write_settings()), clock) as agent,
    ):
        running = threading.Thread(target=agent.run)
        running.start()
        try:
            wait_until(lambda: world.receiver.status("one") is not None, 20)
        finally:
            agent.stop()
            running.join()


@pytest.mark.parametrize("ahead_years", [-3, 3])
def test_tls_holds_where_this_machine_itself_is_years_from_the_servers_time(
    world: World, tmp_path: Path, ahead_years: int
):
    def utc_s() -> float:
        return real_utc_s() + ahead_years * YEAR_S

    # Everything of this fleet is signed in another year: OpenSSL's own look at the clock would refuse all of it.
    fleet = world.fleet = make_fleet(tmp_path / "elsewhen", hosts=("localhost", "127.0.0.1"), at_s=utc_s())
    with registrar_of(fleet, utc_s) as registrar:
        world.token.parent.mkdir()
        world.token.write_text(registrar.make_token(3600).text)
    station = world.station()
    with (
        running_endpoint(fleet, port=world.enrolment_port, utc_s=utc_s),
        running_front(fleet, world.broker.plain) as front,
    ):
        station.endpoint = Endpoint("localhost", front.port)
        with Agent(load_settings(station.write_settings()), SystemClock()) as agent:
            running = threading.Thread(target=agent.run)
            running.start()
            try:
                wait_until(lambda: world.receiver.status("one") is not None, 20)
            finally:
                agent.stop()
                running.join()


def install_a_bundle(world: World, station: Station) -> None:
    """Bring a bundle by hand: a device without a certificate hears no orders."""
    ref = world.updates.publish(1)
    file = export_update(world.updates.folder, ref, world.folder / "1.update").path
    station.write_settings()
    command = [sys.executable, "-P", "-m", "edge_agent", "install", str(file), "--settings", str(station.settings)]
    subprocess.run(command, check=True, capture_output=True, cwd=station.folder)
