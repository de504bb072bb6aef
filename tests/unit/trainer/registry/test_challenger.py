"""Who scores beside the champion is the challenger, where its gate and the project let it."""

from pathlib import Path

import pytest

from tests.unit.trainer.conftest import NewStore
from trainer.project.registry import CHALLENGER, CHAMPION, RegistrySection
from trainer.registry.challenger import end_challenger, name_challenger
from trainer.registry.registry import Registry
from trainer.registry.tracking import ensure_experiment, open_client


def registry_with(state: Path, *gates: str, approval: tuple[str, ...] = ()) -> Registry:
    client = open_client(state)
    registry = Registry(state, client, section=RegistrySection(challenger="beside", approval=approval))
    for gate in gates:
        run_id = client.create_run(ensure_experiment(client, "quality", state)).info.run_id
        registry.register("quality", run_id=run_id, folder=state, tags={"gate": gate} if gate else {})
    return registry


@pytest.mark.parametrize(
    ("gate", "approval", "is_named"),
    [
        ("passed", (), True),
        ("passed", (CHAMPION,), True),  # it waits for approval, and is looked at meanwhile
        ("passed", (CHALLENGER,), False),
        ("refused: size", (), False),
        ("pending", (), False),
    ],
)
def test_what_begins_to_score_beside_the_champion_is_named_if_its_gate_passed_it(
    gate: str, approval: tuple[str, ...], tmp_path: Path, new_store: NewStore, *, is_named: bool
) -> None:
    registry = registry_with(new_store(tmp_path), "passed", gate, approval=approval)
    made = name_challenger(registry, "quality", 2, by="Ada")
    assert (made is not None) == is_named
    assert registry.load("quality", version=2).aliases == (("beside",) if is_named else ())
    if made is not None:
        assert (made.stage, made.by, made.gate) == (CHALLENGER, "Ada", "passed")
        assert name_challenger(registry, "quality", 2, by="Ada") is None


def test_the_champion_in_its_own_shadow_and_an_unknown_version_are_no_challengers(
    tmp_path: Path, new_store: NewStore
) -> None:
    registry = registry_with(new_store(tmp_path), "passed")
    registry.promote("quality", 1)
    assert name_challenger(registry, "quality", 1, by="Ada") is None
    assert name_challenger(registry, "quality", 7, by="Ada") is None
    assert name_challenger(registry, "never-seen", 1, by="Ada") is None
    assert registry.load("quality", version=1).aliases == (CHAMPION,)


def test_who_is_in_no_shadow_any_more_is_no_challenger(tmp_path: Path, new_store: NewStore) -> None:
    registry = registry_with(new_store(tmp_path), "passed", "passed")
    for device in ("pump-1", "pump-2"):
        name_challenger(registry, "quality", 2, by="Ada", device=device)
    assert end_challenger(registry, "quality", "pump-3") == ()
    assert end_challenger(registry, "quality", "pump-1") == ()
    assert registry.load("quality", version=2).aliases == ("beside",)
    # Another registry of the same store: a machine of somebody else.
    assert end_challenger(registry_with(tmp_path), "quality", "pump-2") == (2,)
    assert registry.find("quality", alias=CHALLENGER) is None
    assert end_challenger(registry, "quality", "pump-2") == ()
    assert [promotion.stage for promotion in registry.promotions("quality")] == [CHALLENGER]
    made = name_challenger(registry, "quality", 2, by="Ada", device="pump-1")
    assert made is not None
    assert registry.load("quality", version=2).aliases == ("beside",)


def test_a_device_that_takes_another_version_leaves_the_one_before(tmp_path: Path, new_store: NewStore) -> None:
    registry = registry_with(new_store(tmp_path), "passed", "passed")
    for version in (1, 2):
        name_challenger(registry, "quality", version, by="Ada", device="pump-1")
    assert [model.aliases for model in registry.versions("quality")] == [(), ("beside",)]
    # A bundle that the registry does not know: nothing of this model is in the shadow then.
    assert name_challenger(registry, "quality", 7, by="Ada", device="pump-1") is None
    assert registry.find("quality", alias=CHALLENGER) is None


def test_a_challenger_that_is_promoted_leaves_its_stage_and_the_end_of_its_shadow_changes_nothing(
    tmp_path: Path, new_store: NewStore
) -> None:
    registry = registry_with(new_store(tmp_path), "passed", "passed")
    name_challenger(registry, "quality", 1, by="Ada", device="pump-1")
    registry.promote("quality", 1)
    assert registry.find("quality", alias=CHALLENGER) is None
    name_challenger(registry, "quality", 2, by="Ada", device="pump-2")
    assert end_challenger(registry, "quality", "pump-1") == ()
    assert registry.load("quality", version=1).aliases == (CHAMPION,)
    assert registry.load("quality", version=2).aliases == ("beside",)
