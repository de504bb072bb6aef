"""What is served: a version of the registry by number or alias, or a bundle on this disk."""

import pytest

from trainer.errors import RegistryError
from trainer.registry.registry import Registry
from trainer.registry.tracking import ensure_experiment, open_client
from trainer.serving.origin import FixedBundle, RegistryVersion


@pytest.fixture
def registry(new_store, tmp_path, bundles):
    state = new_store(tmp_path / "state")
    client = open_client(state)
    experiment = ensure_experiment(client, "toy", state)
    registry = Registry(state, client)
    for version in (1, 2, 3):
        run = state / "runs" / str(version)
        (run / "export").mkdir(parents=True)
        if version in bundles:
            (run / "export" / "bundle").symlink_to(bundles[version])
        registry.register("toy", run_id=client.create_run(experiment).info.run_id, folder=run, tags={})
    return registry


def test_an_alias_is_followed_and_a_number_stays(registry):
    registry.promote("toy", 1)
    champion, first = (RegistryVersion(registry, reference, "toy") for reference in ("toy@champion", "toy/1"))
    assert (champion.is_fixed, first.is_fixed) == (False, True)
    assert champion.current() == first.current()
    assert champion.current().bundle.is_dir()
    registry.promote("toy", 2)
    assert (champion.current().key, first.current().key) == ("toy/2", "toy/1")
    registry.promote("toy", 1)
    assert champion.current() == first.current()


def test_a_number_alone_is_a_version_of_the_projects_model(registry):
    version = RegistryVersion(registry, "2", "toy")
    assert (version.is_fixed, version.current().key) == (True, "toy/2")


def test_a_version_without_a_bundle_cannot_be_served(registry):
    with pytest.raises(RegistryError, match="toy/3 has no bundle"):
        RegistryVersion(registry, "toy/3", "toy").current()


def test_a_bundle_on_this_disk_is_served_as_it_is(bundles):
    fixed = FixedBundle(bundles[1])
    assert (fixed.is_fixed, fixed.current().bundle) == (True, bundles[1])
