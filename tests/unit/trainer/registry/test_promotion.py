"""Promotions that were cut in two, and who may promote what."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.unit.trainer.conftest import NewStore
from trainer.errors import BusyError
from trainer.project.registry import CHALLENGER, CHAMPION, PREVIOUS, STAGING, RegistrySection
from trainer.registry.promotion import refusal_of
from trainer.registry.registry import Registry
from trainer.registry.tracking import ensure_experiment, open_client

_NAMES = itertools.count()


class _CutError(Exception):
    """Stands for a power cut."""


class CutClient:
    """A client of a store whose power is cut before its nth write."""

    def __init__(self, client: MlflowClient, writes: int) -> None:
        self._client = client
        self._left = writes

    def __getattr__(self, name: str) -> Callable[..., Any]:
        known: Callable[..., Any] = getattr(self._client, name)
        if not name.startswith(("set_", "delete_")):
            return known

        def write(*arguments: Any, **named: Any) -> object:
            if self._left == 0:
                raise _CutError
            self._left -= 1
            return known(*arguments, **named)

        return write


@dataclass(frozen=True)
class Model:
    """A model with four versions: 2 is champion, 1 is previous."""

    state: Path
    client: MlflowClient
    name: str

    @property
    def registry(self) -> Registry:
        return Registry(self.state, self.client)

    def cut(self, writes: int) -> Registry:
        registry = Registry(self.state, self.client)
        registry._promoter._client = CutClient(self.client, writes)  # type: ignore[assignment]
        return registry

    def aliases(self) -> dict[str, int]:
        return {alias: model.version for model in self.registry.versions(self.name) for alias in model.aliases}


@pytest.fixture(scope="module")
def store(new_store: NewStore, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MlflowClient]:
    state = new_store(tmp_path_factory.mktemp("state"))
    return state, open_client(state)


@pytest.fixture
def model(store: tuple[Path, MlflowClient]) -> Model:
    state, client = store
    made = Model(state, client, f"model-{next(_NAMES)}")
    for _ in range(4):
        run_id = client.create_run(ensure_experiment(client, "quality", state)).info.run_id
        made.registry.register(made.name, run_id=run_id, folder=state, tags={"gate": "passed"})
    made.registry.promote(made.name, 1)
    made.registry.promote(made.name, 2)
    return made


@pytest.mark.parametrize("writes", range(4))
def test_a_promotion_that_was_cut_off_is_finished_or_did_not_happen(writes: int, model: Model) -> None:
    with pytest.raises(_CutError):
        model.cut(writes).promote(model.name, 3)
    assert model.aliases()[CHAMPION] in {2, 3}
    model.registry.promote(model.name, 4)
    # Cut off before any alias changed it has not happened, and 4 follows 2.
    happened = writes >= 2
    assert model.aliases() == {CHAMPION: 4, PREVIOUS: 3 if happened else 2}
    assert [(made.version, made.before) for made in model.registry.promotions(model.name)] == [
        (1, 0),
        (2, 1),
        *([(3, 2)] if happened else []),
        (4, 3 if happened else 2),
    ]


@pytest.mark.parametrize("writes", range(4))
def test_a_rollback_that_was_cut_off_is_finished_or_did_not_happen(writes: int, model: Model) -> None:
    with pytest.raises(_CutError):
        model.cut(writes).rollback(model.name)
    happened = writes >= 2
    assert model.aliases()[CHAMPION] == (1 if happened else 2)
    # What comes next does not take the half for the whole.
    model.registry.promote(model.name, 3, stage=CHALLENGER)
    assert model.aliases() == (
        {CHAMPION: 1, PREVIOUS: 2, CHALLENGER: 3} if happened else {CHAMPION: 2, PREVIOUS: 1, CHALLENGER: 3}
    )


def test_aliases_that_a_person_changed_on_mlflows_page_stay(model: Model) -> None:
    model.client.set_registered_model_alias(model.name, CHAMPION, "4")
    model.registry.promote(model.name, 3)
    assert model.aliases() == {CHAMPION: 3, PREVIOUS: 4}


@pytest.mark.parametrize("stages", [(STAGING,), (CHALLENGER,), (STAGING, CHALLENGER)])
def test_who_becomes_champion_leaves_the_stages_before(stages: tuple[str, ...], model: Model) -> None:
    for stage in stages:
        model.registry.promote(model.name, 3, stage=stage)
        assert model.aliases()[stage] == 3
    model.registry.promote(model.name, 3, by="Ada")
    assert model.aliases() == {CHAMPION: 3, PREVIOUS: 2}


def test_another_challenger_stays_when_a_version_becomes_champion(model: Model) -> None:
    model.registry.promote(model.name, 4, stage=CHALLENGER)
    model.registry.promote(model.name, 3)
    assert model.aliases() == {CHAMPION: 3, PREVIOUS: 2, CHALLENGER: 4}


def test_a_version_that_was_deleted_since_stops_nobody(model: Model) -> None:
    with pytest.raises(_CutError):
        model.cut(1).promote(model.name, 3)
    model.client.delete_model_version(model.name, "3")
    model.registry.promote(model.name, 4)
    assert model.aliases() == {CHAMPION: 4, PREVIOUS: 2}


def test_what_is_no_longer_held_is_not_written(model: Model) -> None:
    def lost() -> None:
        raise BusyError("too late")

    registry = model.registry
    with pytest.raises(BusyError, match="too late"):
        registry._promoter._carry_out(model.name, model.registry.promotions(model.name)[0], lost)
    assert model.aliases() == {CHAMPION: 2, PREVIOUS: 1}


@pytest.mark.parametrize(
    ("gate", "by", "stage", "approval", "reason", "named"),
    [
        ("passed", "", CHAMPION, (), "", None),
        ("", "", CHAMPION, (), "", None),
        ("passed", "", CHAMPION, (CHAMPION,), "", "wants a person to approve champion"),
        ("passed", "Ada", CHAMPION, (CHAMPION,), "", None),
        ("passed", "", STAGING, (CHAMPION,), "", None),
        ("refused: size", "Ada", STAGING, (), "", "the gate refused: size"),
        ("refused: size", "Ada", STAGING, (), "a trial", None),
        ("pending", "Ada", CHAMPION, (), "", "has not judged it yet"),
        ("refused: size", "", CHAMPION, (CHAMPION,), "a trial", "wants a person"),
        ("passed", "Ada", PREVIOUS, (), "", "nothing is promoted to previous"),
    ],
)
def test_who_may_promote_what(
    gate: str, by: str, stage: str, approval: tuple[str, ...], reason: str, named: str | None
) -> None:
    refusal = refusal_of(gate, by, stage, RegistrySection(approval=approval), reason)
    assert refusal is None if named is None else named in (refusal or "")
