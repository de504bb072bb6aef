"""Claims where a store has no lock: who died, who is too slow, who comes second; and files where it has."""

import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from edge_agent.clock import SystemClock
from tests.unit.trainer.conftest import NewStore
from tests.waiting import wait_until
from trainer.errors import BusyError, RegistryError
from trainer.registry import lock
from trainer.registry.lock import CLAIM_S, CLAIMS_SUFFIX, lock_of
from trainer.registry.registry import Registry
from trainer.registry.tracking import open_client, tracking_uri


@dataclass
class JumpingClock:
    """Goes on by a step whenever it is asked, so that a wait of minutes is over at once."""

    step_s: float = 5.0
    now_s: float = 0.0

    def monotonic_s(self) -> float:
        self.now_s += self.step_s
        return self.now_s

    def utc_s(self) -> float:
        return 1_700_000_000.0 + self.now_s


@pytest.fixture(scope="module")
def state(new_store: NewStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_store(tmp_path_factory.mktemp("state"))


@pytest.fixture
def client(state: Path) -> MlflowClient:
    return open_client(state)


def claims(client: MlflowClient, name: str) -> list[int]:
    return sorted(int(v.version) for v in client.search_model_versions(f"name='{name}{CLAIMS_SUFFIX}'"))


def test_a_claim_is_given_back(client: MlflowClient) -> None:
    server = lock_of("http://127.0.0.1:9", client, SystemClock())
    with server("free"):
        assert claims(client, "free") == [1]
    assert claims(client, "free") == []
    with pytest.raises(KeyError), server("free"):
        raise KeyError
    assert claims(client, "free") == []


def test_who_comes_second_waits_for_the_first(client: MlflowClient, state: Path) -> None:
    server = lock_of("http://127.0.0.1:9", client, SystemClock())
    order: list[str] = []

    def second() -> None:
        with lock_of("http://127.0.0.1:9", open_client(state), SystemClock())("turns"):
            order.append("second")

    thread = threading.Thread(target=second)
    with server("turns"):
        thread.start()
        wait_until(lambda: claims(client, "turns") == [1, 2], 60)
        assert order == []
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]


def test_the_claim_of_somebody_who_died_ends_by_its_age(client: MlflowClient) -> None:
    with ExitStack() as held:
        held.enter_context(lock_of("http://127.0.0.1:9", client, SystemClock())("dead"))
        with lock_of("http://127.0.0.1:9", client, JumpingClock())("dead"):
            # The dead one's is gone; who held it would find that out before its next write.
            assert 1 not in claims(client, "dead")


def test_a_claim_that_lives_is_waited_for_and_not_for_ever(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "WAIT_S", 20.0)
    server = lock_of("http://127.0.0.1:9", client, SystemClock())
    impatient = lock_of("http://127.0.0.1:9", client, JumpingClock())
    with server("busy"):
        with pytest.raises(BusyError, match="another promotion of model 'busy'"), impatient("busy"):
            pass
        assert claims(client, "busy") == [1]


def test_who_held_its_claim_too_long_writes_nothing_more(client: MlflowClient) -> None:
    clock = JumpingClock(step_s=0.0)
    with lock_of("http://127.0.0.1:9", client, clock)("slow") as verify_held:
        verify_held()
        clock.now_s += CLAIM_S
        with pytest.raises(BusyError, match="took longer than 60 s"):
            verify_held()


def test_the_lock_of_a_file_is_waited_for_and_not_for_ever(
    state: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "WAIT_S", 20.0)
    address = tracking_uri(state)
    with (
        lock_of(address, client, SystemClock())("one"),
        pytest.raises(BusyError, match="another promotion of model 'one'"),
        lock_of(address, client, JumpingClock())("one"),
    ):
        pass
    with lock_of(address, client, SystemClock())("one"), lock_of(address, client, SystemClock())("two"):
        pass


def test_claims_are_no_model_of_the_registry(state: Path, client: MlflowClient) -> None:
    registry = Registry(state, client)
    with lock_of("http://127.0.0.1:9", client, SystemClock())("hidden"):
        assert not [name for name in registry.names() if "hidden" in name]
    with pytest.raises(RegistryError, match="names that end so"):
        registry.register(f"hidden{CLAIMS_SUFFIX}", run_id="0" * 32, folder=state, tags={})
