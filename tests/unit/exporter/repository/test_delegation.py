from pathlib import Path

import pytest

from broker.messages import BundleRef
from edge_agent.errors import BundleError
from exporter.errors import AlreadyPublishedError, KeysError, MissingSignaturesError, RepositoryError
from exporter.repository.delegation import role_of
from exporter.repository.listing import load_listing
from exporter.repository.repository import (
    delegate_model,
    list_bundles,
    load_listed_manifest,
    publish_bundle,
    unlist_bundle,
)
from exporter.repository.roles import Quorum
from tests.forging import list_file
from tests.unit.exporter.places import Place
from tests.unit.exporter.repositories import write_bundle

ONE = "digits/1/model.onnx"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path).init()


@pytest.fixture
def old(tmp_path: Path) -> Place:
    """A repository that lists version 1 flatly, as all did before models had roles."""
    place = Place(tmp_path).init_old()
    place.list_old(place.bundle(1), BundleRef("digits", 1))
    return place


def test_a_models_first_bundle_makes_its_role_and_its_key(place: Place):
    place.publish()
    listing = load_listing(place.repository)
    assert list(listing.models) == ["model-digits"]
    assert listing.targets.signed.targets == {}
    assert (place.keys / "model-digits.pem").stat().st_mode & 0o777 == 0o600
    assert place.fetch(ONE) == b"v1"


def test_further_bundles_need_no_key_of_the_targets(place: Place):
    place.publish(1)
    place.carry_away("targets.pem")
    place.publish(2)
    assert place.fetch("digits/2/model.onnx") == b"v2"
    with pytest.raises(MissingSignaturesError, match=r"targets: 0 of 1 .* 1 more needed.* targets \("):
        place.publish(1, "other")
    assert not (place.keys / "model-other.pem").exists()


def test_a_model_lists_what_its_threshold_of_keys_signs(place: Place):
    delegate_model("digits", place.repository, place.keys, quorum=Quorum(3, 2), clock=place.clock)
    place.publish(1)
    assert len(load_listing(place.repository).models["model-digits"].signatures) == 3
    place.carry_away("model-digits.pem")
    place.publish(2)
    assert place.fetch("digits/2/model.onnx") == b"v2"
    place.carry_away("model-digits+2.pem")
    with pytest.raises(MissingSignaturesError) as raised:
        place.publish(3)
    assert (raised.value.role, raised.value.needed) == ("model-digits", 1)
    assert [name.partition(" ")[0] for name in raised.value.missing] == ["model-digits", "model-digits+2"]


def test_keys_that_lie_in_two_folders_sign_together(place: Place):
    delegate_model("digits", place.repository, place.keys, quorum=Quorum(2, 2), clock=place.clock)
    away = place.carry_away("model-digits+2.pem")
    with pytest.raises(KeysError):
        place.publish()
    publish_bundle(place.bundle(), place.repository, [place.keys, away], clock=place.clock)
    assert place.fetch(ONE) == b"v1"


def test_a_model_gets_its_role_once(place: Place):
    place.publish()
    with pytest.raises(RepositoryError, match="rotate-key model-digits"):
        delegate_model("digits", place.repository, place.keys, quorum=Quorum(), clock=place.clock)


@pytest.mark.parametrize(("keys", "threshold"), [(1, 2), (2, 0), (0, 0)])
def test_a_threshold_that_nobody_can_reach_is_refused(place: Place, keys: int, threshold: int):
    with pytest.raises(RepositoryError, match="threshold"):
        delegate_model("digits", place.repository, place.keys, quorum=Quorum(keys, threshold), clock=place.clock)


@pytest.mark.parametrize("name", ["root", "targets", "snapshot", "timestamp", "x.root", "a", "model-a"])
def test_a_model_may_have_the_name_of_a_role(place: Place, name: str):
    place.publish(1, name)
    place.publish(1)
    assert place.fetch(f"{name}/1/model.onnx") == b"v1"
    assert place.fetch(ONE) == b"v1"


@pytest.mark.parametrize("name", ["../evil", "a/b", "*", "di?its", "[a-z]", ".hidden", "a b", "ü", "a\n"])
def test_a_name_that_leads_elsewhere_or_is_a_pattern_is_refused(place: Place, name: str):
    with pytest.raises(BundleError):
        publish_bundle(write_bundle(place.folder / "b", 1, b"x", name), place.repository, place.keys, clock=place.clock)
    with pytest.raises(BundleError, match="cannot be published"):
        role_of(name)


def test_a_list_with_another_models_bundle_in_it_is_not_signed_again(place: Place):
    place.publish()
    place.publish(1, "other")
    list_file(place.repository, place.keys, "digits/7/manifest.json", b"{}", role="model-other")
    assert place.fetch("digits/7/manifest.json") is None, "devices do not even look there"
    with pytest.raises(RepositoryError, match=r"model-other lists digits/7/manifest\.json, which is not its to"):
        place.publish(2)


def test_an_old_repository_is_read_as_before(old: Place):
    assert old.fetch(ONE) == b"v1"
    assert list_bundles(old.repository) == (BundleRef("digits", 1),)
    manifest = load_listed_manifest(old.repository, BundleRef("digits", 1))
    assert manifest is not None
    assert manifest.ref == BundleRef("digits", 1)
    old.publish(1)
    assert load_listing(old.repository).models == {}, "the same again changes nothing"


def test_in_an_old_repository_the_models_bundles_move_to_its_role_at_once(old: Place):
    old.list_old(old.bundle(1, "other"), BundleRef("other", 1))
    assert old.fetch(ONE) == b"v1"
    old.publish(2)
    listing = load_listing(old.repository)
    assert {path.partition("/")[0] for path in listing.targets.signed.targets} == {"other"}
    for device in ("device", "new"):
        assert old.fetch(ONE, device) == b"v1"
        assert old.fetch("digits/2/model.onnx", device) == b"v2"
        assert old.fetch("other/1/model.onnx", device) == b"v1"
    refs = (BundleRef("digits", 1), BundleRef("digits", 2), BundleRef("other", 1))
    assert list_bundles(old.repository) == refs


def test_in_an_old_repository_what_was_unlisted_keeps_its_name(old: Place):
    unlist_bundle(BundleRef("digits", 1), old.repository, old.keys, clock=old.clock)
    other = write_bundle(old.folder / "b", 1, b"other content")
    with pytest.raises(AlreadyPublishedError):
        publish_bundle(other, old.repository, old.keys, clock=old.clock)
    old.publish(2)
    with pytest.raises(AlreadyPublishedError):
        publish_bundle(other, old.repository, old.keys, clock=old.clock)
    old.publish(1)
    assert old.fetch(ONE) == b"v1"


def test_the_role_of_a_model_is_never_a_role_of_tuf():
    assert role_of("root") == "model-root"
