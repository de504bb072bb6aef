"""Claims of runs where a store has no lock: the lowest that is renewed holds; who stopped renewing is dead."""

from dataclasses import dataclass

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

from trainer.registry.lock import CLAIMS_SUFFIX
from trainer.registry.run_claim import CLAIM_S, RunClaim


@dataclass
class ManualClock:
    now_s: float = 0.0

    def monotonic_s(self) -> float:
        return self.now_s

    def utc_s(self) -> float:
        return 1_700_000_000.0 + self.now_s


@dataclass
class Claim:
    name: str
    version: int
    creation_timestamp: int
    last_updated_timestamp: int
    description: str


class Server:
    """What a claim asks of an MLflow server, with a clock of its own; see the tests with a real one."""

    def __init__(self, clock):
        self._clock, self.claims, self._next, self.is_away = clock, {}, 1, False

    def _now_ms(self):
        if self.is_away:
            raise MlflowException("no answer")
        return int(self._clock.utc_s() * 1000)

    def create_registered_model(self, _name, **_):
        self._now_ms()

    def create_model_version(self, name, _source, *, description):
        now = self._now_ms()
        self.claims[self._next] = made = Claim(name, self._next, now, now, description)
        self._next += 1
        return made

    def search_model_versions(self, _filter, **_):
        return list(self.claims.values())

    def update_model_version(self, _name, version, **_):
        now = self._now_ms()
        self._known(version).last_updated_timestamp = now

    def get_model_version(self, _name, version):
        return self._known(version)

    def delete_model_version(self, _name, version):
        self._known(version)
        del self.claims[version]

    def _known(self, version):
        if version not in self.claims:
            raise MlflowException("gone", error_code=RESOURCE_DOES_NOT_EXIST)
        return self.claims[version]


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def server(clock):
    return Server(clock)


def test_the_first_has_it_until_it_gives_it_back(server, clock):
    one, two = RunClaim(server, "quality", clock), RunClaim(server, "quality", clock)
    assert one.take() == ""
    assert two.take().startswith("process ")
    assert len(server.claims) == 1
    one.release()
    assert two.take() == ""
    assert next(iter(server.claims.values())).name == f"quality--runs{CLAIMS_SUFFIX}"


def test_who_renews_holds_for_hours(server, clock):
    one, two = RunClaim(server, "quality", clock), RunClaim(server, "quality", clock)
    one.take()
    for _ in range(500):
        clock.now_s += 20
        assert one.is_held()
        assert two.take()


def test_who_stopped_renewing_is_dead_after_a_minute_and_finds_that_out(server, clock):
    one, two = RunClaim(server, "quality", clock), RunClaim(server, "quality", clock)
    one.take()
    clock.now_s += CLAIM_S
    assert two.take()
    clock.now_s += 1
    assert two.take() == ""
    assert not one.is_held()
    assert two.is_held()


def test_who_was_asleep_does_not_trust_a_claim_that_nobody_has_taken_yet(server, clock):
    one = RunClaim(server, "quality", clock)
    one.take()
    clock.now_s += CLAIM_S
    assert not one.is_held()
    assert one.take() == "", "its own is gone with the taking"


def test_a_server_that_is_away_for_a_moment_takes_nothing(server, clock):
    one = RunClaim(server, "quality", clock)
    one.take()
    clock.now_s += 20
    server.is_away = True
    assert one.is_held()
    clock.now_s += 35
    assert not one.is_held()
