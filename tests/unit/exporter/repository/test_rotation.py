from pathlib import Path

import pytest

from exporter.errors import KeysError, RepositoryError
from exporter.repository.listing import NEXT_TIMESTAMP, load_listing, load_root
from exporter.repository.repository import delegate_model
from exporter.repository.roles import Quorum
from exporter.repository.rotation import rotate_key
from tests.unit.exporter.places import Place

ONE = "digits/1/model.onnx"
ROLES = ("root", "targets", "snapshot", "timestamp", "model-digits")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path).init(root=Quorum(2, 2))
    place.publish()
    assert place.fetch(ONE, "old") == b"v1"
    return place


def rotate(place: Place, role: str, **options: str):
    return rotate_key(role, place.repository, place.keys, clock=place.clock, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("role", ROLES)
def test_after_a_rotation_devices_go_on_and_the_old_key_signs_nothing_more(place: Place, role: str):
    before = set(load_listing(place.repository).keys_of(role).keys)
    rotation = rotate(place, role)
    after = load_listing(place.repository)
    assert not before & set(after.keys_of(role).keys)
    assert len(rotation.made) == len(rotation.retired) == len(before)
    assert all(path.parent.name == "retired" and path.stat().st_mode & 0o777 == 0o600 for path in rotation.retired)
    for device in ("old", "new"):
        assert place.fetch(ONE, device) == b"v1"
    place.publish(2)
    if role not in {"root", "targets"}:  # a publication signs neither
        assert not before & set(load_listing(place.repository).metadata_of(role).signatures)
    for device in ("old", "new"):
        assert place.fetch("digits/2/model.onnx", device) == b"v2"


def test_a_device_that_slept_through_many_rotations_follows_the_chain_of_roots(place: Place):
    for role in (*ROLES, *ROLES):
        rotate(place, role)
    place.publish(2)
    assert load_root(place.repository).signed.version == 9
    assert place.fetch("digits/2/model.onnx", "old") == b"v2"
    assert place.fetch("digits/2/model.onnx", "new") == b"v2"


def test_one_of_several_keys_is_replaced_by_its_name(place: Place):
    delegate_model("rain", place.repository, place.keys, quorum=Quorum(2, 1), clock=place.clock)
    for role, name in (("root", "root+2"), ("model-rain", "model-rain+2")):
        before = load_listing(place.repository).keys_of(role)
        assert rotate(place, role, only=name).made[0].startswith(f"{role}+3 (")
        after = load_listing(place.repository).keys_of(role)
        assert len(set(before.keys) & set(after.keys)) == 1
        assert after.threshold == before.threshold
    with pytest.raises(KeysError, match="has no key 'root\\+2'"):
        rotate(place, "root", only="root+2")
    with pytest.raises(RepositoryError, match="has no key 'model-rain\\+2'"):
        rotate(place, "model-rain", only="model-rain+2")


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_a_key_that_was_lost_is_replaced(place: Place, role: str):
    (place.keys / f"{role}.pem").unlink()
    rotate(place, role)
    place.publish(2)
    assert place.fetch("digits/2/model.onnx", "old") == b"v2"


def test_a_cut_while_a_lost_key_is_replaced_can_be_mended(place: Place, monkeypatch: pytest.MonkeyPatch):
    (place.keys / "timestamp.pem").unlink()

    def cut(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("exporter.repository.root_signing.show_listing", cut)
    with pytest.raises(KeyboardInterrupt):
        rotate(place, "timestamp")
    monkeypatch.undo()
    assert (place.repository / "metadata" / NEXT_TIMESTAMP).exists()
    place.publish(2)
    assert place.fetch("digits/2/model.onnx", "old") == b"v2"


def test_without_the_keys_of_the_root_nothing_is_made(place: Place):
    away = place.carry_away("root")
    before = sorted(place.keys.iterdir())
    with pytest.raises(KeysError, match=r"root: 0 of 2 .* 2 more needed"):
        rotate(place, "timestamp")
    assert sorted(place.keys.iterdir()) == before
    rotate_key("timestamp", place.repository, place.keys, away / "root", clock=place.clock)
    assert place.fetch(ONE, "old") == b"v1"


def test_new_root_keys_lie_where_the_old_ones_did(place: Place):
    away = place.carry_away("root") / "root"
    rotate_key("root", place.repository, place.keys, away, clock=place.clock)
    assert sorted(path.name for path in away.glob("*.pem")) == ["root+3.pem", "root+4.pem"]
    assert not (place.keys / "root").exists()
    assert place.fetch(ONE, "old") == b"v1"


def test_a_role_that_is_not_there_is_named(place: Place):
    with pytest.raises(RepositoryError, match=r"no role 'model-rain'; it has root, targets, .* model-digits"):
        rotate(place, "model-rain")


def test_keys_in_one_folder_as_they_were_of_old_rotate_too(tmp_path: Path):
    place = Place(tmp_path).init_old()
    place.publish()
    for role in ROLES:
        rotate(place, role)
    assert place.fetch(ONE) == b"v1"
