"""Who scores beside the champion is the challenger, where its gate and the project let it."""

from pathlib import Path

import pytest

from tests.unit.trainer.conftest import NewStore
from trainer.project.registry import CHALLENGER, CHAMPION, RegistrySection
from trainer.registry.challenger import name_challenger
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
