import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from trainer.errors import RegistryError
from trainer.registry.registry import CHAMPION, PREVIOUS, Registry
from trainer.registry.tracking import ensure_experiment, open_client

_NAMES = itertools.count()


@dataclass
class Models:
    """A registry that all tests share, and a model name for one test."""

    client: MlflowClient
    experiment: str
    registry: Registry
    state: Path
    when_empty: str
    name: str = ""

    def register(self, folder=None, **tags):
        run_id = self.client.create_run(self.experiment).info.run_id
        return self.registry.register(self.name, run_id=run_id, folder=folder or self.state / run_id, tags=tags)

    def aliases(self):
        return {alias: model.version for model in self.registry.versions(self.name) for alias in model.aliases}


@pytest.fixture(scope="module")
def shared(new_store, tmp_path_factory):
    state = new_store(tmp_path_factory.mktemp("state"))
    client = open_client(state)
    registry = Registry(state, client)
    with pytest.raises(RegistryError) as refusal:
        registry.load("nobody", version=1)
    return Models(client, ensure_experiment(client, "quality", state), registry, state, str(refusal.value))


@pytest.fixture
def models(shared):
    return replace(shared, name=f"model-{next(_NAMES)}")


def test_versions_are_numbered_from_1_and_keep_what_was_recorded(models):
    assert [models.register(quality="0.81", gate="pending"), models.register(quality="0.92")] == [1, 2]
    first, second = models.registry.versions(models.name)
    assert (first.name, first.version, second.version) == (models.name, 1, 2)
    assert first.tags == {"quality": "0.81", "gate": "pending"}
    assert len(first.run_id) == 32
    assert first.created_utc_s > 1_600_000_000
    models.registry.tag(models.name, 1, {"gate": "passed"})
    assert models.registry.load(models.name, version=1).tags == {"quality": "0.81", "gate": "passed"}


def test_a_candidate_has_no_alias(models):
    models.register()
    assert models.aliases() == {}
    assert models.registry.find(models.name, alias=CHAMPION) is None


def test_the_same_run_twice_is_the_same_version(models, tmp_path):
    run_id = models.client.create_run(models.experiment).info.run_id
    first = models.registry.register(models.name, run_id=run_id, folder=tmp_path, tags={})
    between = models.register()
    assert models.registry.register(models.name, run_id=run_id, folder=tmp_path, tags={}) == first
    assert [model.version for model in models.registry.versions(models.name)] == [first, between]


def test_the_same_run_may_be_a_version_of_two_models(models, tmp_path):
    run_id = models.client.create_run(models.experiment).info.run_id
    for name in (models.name, f"{models.name}-b"):
        assert models.registry.register(name, run_id=run_id, folder=tmp_path, tags={}) == 1
    assert len(models.registry.versions(models.name)) == 1


def test_a_folder_with_any_name_comes_back_with_its_model_and_bundle(models, tmp_path):
    folder = tmp_path / "Größe 100% # alt?"
    (folder / "export" / "bundle").mkdir(parents=True)
    (folder / "train").mkdir()
    (folder / "train" / "model.skops").touch()
    models.register(folder)
    model = models.registry.load(models.name, version=1)
    assert model.files.local == folder
    assert model.model_file == folder / "train" / "model.skops"
    assert model.bundle == folder / "export" / "bundle"


def test_a_promotion_makes_the_champion_until_now_the_previous_one(models):
    for _ in range(3):
        models.register()
    models.registry.promote(models.name, 1)
    assert models.aliases() == {CHAMPION: 1}
    models.registry.promote(models.name, 3)
    assert models.aliases() == {CHAMPION: 3, PREVIOUS: 1}
    models.registry.promote(models.name, 2)
    assert models.aliases() == {CHAMPION: 2, PREVIOUS: 3}


def test_promoting_the_champion_again_keeps_the_previous_one(models):
    models.register()
    models.register()
    models.registry.promote(models.name, 1)
    models.registry.promote(models.name, 2)
    models.registry.promote(models.name, 2)
    assert models.aliases() == {CHAMPION: 2, PREVIOUS: 1}


def test_a_version_that_is_not_there_is_not_promoted(models):
    models.register()
    models.registry.promote(models.name, 1)
    with pytest.raises(RegistryError, match=f"does not hold {models.name}/2; it holds: {models.name}/1"):
        models.registry.promote(models.name, 2)
    assert models.aliases() == {CHAMPION: 1}


def test_a_rollback_goes_to_the_previous_champion_and_a_second_one_comes_back(models):
    models.register()
    models.register()
    models.registry.promote(models.name, 1)
    models.registry.promote(models.name, 2)
    back = models.registry.rollback(models.name)
    assert (back.version, back.aliases) == (1, (CHAMPION,))
    assert models.aliases() == {CHAMPION: 1, PREVIOUS: 2}
    assert models.registry.rollback(models.name).version == 2


def test_without_a_previous_version_there_is_no_way_back(models):
    models.register()
    models.registry.promote(models.name, 1)
    with pytest.raises(RegistryError, match="no previous version to go back to"):
        models.registry.rollback(models.name)
    with pytest.raises(RegistryError, match="no previous version"):
        models.registry.rollback("nobody")
    assert models.aliases() == {CHAMPION: 1}


@pytest.mark.parametrize(
    ("form", "version"), [("{}", 2), ("{}/1", 1), ("{}/2", 2), ("{}@champion", 2), ("{}@previous", 1)]
)
def test_a_version_is_resolved_by_name_number_and_alias(form, version, models):
    models.register()
    models.register()
    models.registry.promote(models.name, 1)
    models.registry.promote(models.name, 2)
    assert models.registry.resolve(form.format(models.name)).version == version


@pytest.mark.parametrize("form", ["{}/9", "{}@canary", "{}@previous", "{}-other"])
def test_what_the_registry_does_not_hold_is_named_with_what_it_holds(form, models):
    models.register()
    models.registry.promote(models.name, 1)
    wanted = form.format(models.name)
    with pytest.raises(RegistryError, match=f"does not hold {wanted}") as refusal:
        models.registry.resolve(wanted)
    assert models.name in str(refusal.value).split("it holds: ")[1]


@pytest.mark.parametrize(
    "form", ["", "{}/", "{}@", "{}/one", "{}:1", "{}/1@champion", "{}/-1", "../{}", "{}' OR name='x", "{}\n"]
)
def test_another_form_is_refused_with_the_forms_there_are(form, models):
    models.register()
    with pytest.raises(RegistryError, match="is no model: write name, name/3 or name@champion"):
        models.registry.resolve(form.format(models.name))


def test_names_are_whole_names(models):
    models.register()
    name, models.name = models.name, f"{models.name}-b"
    models.register()
    models.register()
    assert len(models.registry.versions(name)) == 1
    assert {name, models.name} <= set(models.registry.names())
    assert list(models.registry.names()) == sorted(models.registry.names())


def test_an_unknown_name_has_no_versions_and_no_champion(models):
    assert models.registry.versions("nobody") == ()
    assert models.registry.find("nobody", alias=CHAMPION) is None
    with pytest.raises(RegistryError, match="does not hold nobody@champion"):
        models.registry.load("nobody")


def test_an_empty_registry_says_that_it_holds_nothing_yet(models):
    assert models.when_empty == "the registry does not hold nobody/1; it holds: nothing yet"


def test_a_registry_opened_again_holds_the_same(models):
    models.register(quality="0.5")
    models.registry.promote(models.name, 1)
    assert Registry(models.state).load(models.name) == models.registry.load(models.name)
