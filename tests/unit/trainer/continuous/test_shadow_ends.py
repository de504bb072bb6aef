"""A shadow that ends by itself is told by its device, and makes its version no challenger any more."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.trainer.conftest import NewStore
from tests.unit.trainer.registry.test_challenger import registry_with
from tests.unit.trainer.simulated_fleet import ManualClock
from trainer.continuous.shadow_ends import LOOK_S, ShadowEnds
from trainer.errors import RegistryError
from trainer.monitoring.store import Store, open_store, store_uri
from trainer.monitoring.tables import EVENTS
from trainer.project.registry import CHALLENGER
from trainer.registry.challenger import name_challenger
from trainer.registry.registry import Registry


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(store_uri(tmp_path / "fleet.db"))
    yield opened
    opened.close()


@pytest.fixture
def registry(tmp_path: Path, new_store: NewStore) -> Registry:
    return registry_with(new_store(tmp_path / "state"), "passed", "passed")


@pytest.fixture
def tell(store: Store) -> Callable[..., None]:
    """Let a device tell of its shadow."""
    count = iter(range(1, 100))

    def told(
        order_id: str | None,
        reason: str,
        *,
        device: str = "pump-1",
        kind: str = "shadow",
        received_utc_s: float = 1000.0,
    ) -> None:
        number = next(count)
        with store.writing() as connection:
            connection.execute(
                EVENTS.insert(),
                {
                    "device": device,
                    "epoch": 1,
                    "sequence": number,
                    "kind": kind,
                    "at_utc_s": 1.0,
                    "received_utc_s": received_utc_s,
                    "severity": "info",
                    "reason": reason,
                    "bundle": "quality",
                    "version": 2,
                    "order_id": order_id,
                },
            )

    return told


def test_a_shadow_that_ended_by_itself_makes_no_challenger(
    store: Store, registry: Registry, tell: Callable[..., None]
) -> None:
    clock = ManualClock()
    ends = ShadowEnds(store, "quality", lambda: registry, clock)
    for device in ("pump-1", "pump-2"):
        name_challenger(registry, "quality", 2, by="Ada", device=device, order_id=f"start-{device}")
    tell("start-pump-1", "onnx-fp32 begins; proved")
    tell("start-pump-1", "ended: 100 rows are compared", kind="refused")
    ends.look()
    assert [key for key in registry.load("quality", version=2).tags if key.endswith("pump-1")]
    clock.now_s += LOOK_S
    tell("start-pump-1", "ended: 100 rows are compared")
    assert ends.look() == ()
    assert not [key for key in registry.load("quality", version=2).tags if key.endswith("pump-1")]
    assert registry.load("quality", version=2).aliases == ("beside",)
    tell("start-pump-2", "ended: it failed three times", device="pump-2")
    assert ends.look() == (), "looked a moment ago"
    clock.now_s += LOOK_S
    assert ends.look() == (2,)
    assert registry.find("quality", alias=CHALLENGER) is None


def test_the_end_of_an_earlier_shadow_ends_no_later_one(
    store: Store, registry: Registry, tell: Callable[..., None]
) -> None:
    tell("first", "ended: pump takes another place")
    tell(None, "ended: nobody knows of what")
    name_challenger(registry, "quality", 2, by="Ada", device="pump-1", order_id="second")
    # Started anew, a monitor goes through all of them again.
    for _ in range(2):
        assert ShadowEnds(store, "quality", lambda: registry, ManualClock()).look() == ()
    assert registry.load("quality", version=2).aliases == ("beside",)


def test_a_registry_that_is_away_is_told_later(store: Store, registry: Registry, tell: Callable[..., None]) -> None:
    clock, is_away = ManualClock(), [True]

    def opened() -> Registry:
        if is_away:
            raise RegistryError("away")
        return registry

    name_challenger(registry, "quality", 2, by="Ada", device="pump-1", order_id="start")
    tell("start", "ended: 100 rows are compared")
    ends = ShadowEnds(store, "quality", opened, clock)
    assert ends.look() == ()
    is_away.clear()
    clock.now_s += LOOK_S
    assert ends.look() == (2,)


def test_a_shadow_that_ends_before_its_version_is_named_ends_all_the_same(
    store: Store, registry: Registry, tell: Callable[..., None]
) -> None:
    clock = ManualClock()
    ends = ShadowEnds(store, "quality", lambda: registry, clock)
    tell("start", "ended: 10 rows are compared", received_utc_s=clock.now_s)
    assert ends.look() == ()
    name_challenger(registry, "quality", 2, by="Ada", device="pump-1", order_id="start")
    clock.now_s += LOOK_S
    assert ends.look() == (2,)
    clock.now_s += 3600
    ends.look()
    name_challenger(registry, "quality", 2, by="Ada", device="pump-1", order_id="start")
    clock.now_s += LOOK_S
    assert ends.look() == (), "after a while it is not gone through again"
