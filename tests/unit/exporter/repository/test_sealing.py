"""Root keys that are encrypted at rest: who has the file alone can sign nothing."""

from pathlib import Path

import pytest

from exporter.errors import KeysError
from exporter.repository.keys import make_named_key, open_keyring
from exporter.repository.listing import load_root
from exporter.repository.refresh import refresh_timestamp
from exporter.repository.repository import init_repository
from exporter.repository.roles import Quorum
from exporter.repository.root_changes import NO_CHANGES, prepare_root
from exporter.repository.root_signing import renew_root, sign_root
from exporter.repository.rotation import rotate_key
from exporter.repository.sealing import is_sealed, seal_keys
from tests.unit.exporter.places import Place

ONE = "digits/1/model.onnx"
PASSPHRASE = b"correct horse battery"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A repository of which the root's keys were encrypted when they were made."""
    place = Place(tmp_path)
    path = init_repository(
        place.repository, place.keys, clock=place.clock, root=Quorum(2, 2), root_passphrase=PASSPHRASE
    )
    place.root = path.read_bytes()
    place.publish()
    return place


def give(_: Path) -> bytes:
    return PASSPHRASE


def version_of(place: Place) -> int:
    return load_root(place.repository).signed.version


def test_the_roots_keys_are_encrypted_and_the_others_are_not(place: Place):
    assert [is_sealed(path) for path in sorted(place.root_keys.glob("*.pem"))] == [True, True]
    others = sorted(place.keys.glob("*.pem"))
    assert not any(is_sealed(path) for path in others)
    assert len(others) == 4
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in place.keys.rglob("*.pem"))


def test_publishing_and_refreshing_need_no_passphrase(place: Place):
    place.publish(2)
    assert refresh_timestamp(place.repository, place.keys, clock=place.clock).signed == ("timestamp",)
    assert place.fetch("digits/2/model.onnx") == b"v2"


def test_without_the_passphrase_a_root_is_signed_by_nobody(place: Place):
    with pytest.raises(KeysError, match=r"root\.pem: is encrypted"):
        renew_root(place.repository, place.keys, place.root_keys, clock=place.clock)
    with pytest.raises(KeysError, match=r"root\.pem: does not open: is it the right passphrase"):
        renew_root(
            place.repository, place.keys, place.root_keys, clock=place.clock, passphrase=lambda _: b"wrong horse"
        )
    assert version_of(place) == 1


def test_with_the_passphrase_a_root_is_renewed_and_devices_follow(place: Place):
    renew_root(place.repository, place.keys, place.root_keys, clock=place.clock, passphrase=give)
    assert version_of(place) == 2
    assert place.fetch(ONE) == b"v1"


def test_a_key_that_takes_the_place_of_an_encrypted_one_is_encrypted_too(place: Place):
    rotation = rotate_key("root", place.repository, place.keys, clock=place.clock, passphrase=give)
    assert all(is_sealed(path) for path in (*place.root_keys.glob("*.pem"), *rotation.retired))
    rotate_key("timestamp", place.repository, place.keys, clock=place.clock, passphrase=give)
    assert not is_sealed(place.keys / "timestamp+2.pem")
    assert version_of(place) == 3
    assert place.fetch(ONE) == b"v1"


def test_keys_that_lie_open_are_encrypted_afterwards_and_go_on_signing(tmp_path: Path):
    place = Place(tmp_path).init(root=Quorum(2, 2))
    place.publish()
    paths = sorted(place.root_keys.glob("*.pem"))
    assert list(seal_keys(place.root_keys, PASSPHRASE)) == paths
    assert all(is_sealed(path) and path.stat().st_mode & 0o777 == 0o600 for path in paths)
    assert seal_keys(place.root_keys, PASSPHRASE) == ()
    renew_root(place.repository, place.keys, place.root_keys, clock=place.clock, passphrase=give)
    assert place.fetch(ONE) == b"v1"


def test_a_persons_own_key_may_be_encrypted(place: Place):
    make_named_key(place.folder / "carla", "carla", PASSPHRASE)
    assert is_sealed(place.folder / "carla" / "carla.pem")
    ring = open_keyring([place.folder / "carla", place.root_keys], give)
    prepared = prepare_root(place.repository, NO_CHANGES, clock=place.clock)
    assert sign_root(prepared, load_root(place.repository), ring).needed == 0


def test_a_short_passphrase_is_refused_and_nothing_is_left_half_done(tmp_path: Path):
    place = Place(tmp_path).init()
    with pytest.raises(KeysError, match="shorter than 12 bytes"):
        seal_keys(place.root_keys, b"too short")
    assert not is_sealed(place.root_keys / "root.pem")
    with pytest.raises(KeysError, match="shorter than 12 bytes"):
        make_named_key(tmp_path / "carla", "carla", b"too short")
    assert list((tmp_path / "carla").iterdir()) == []
    with pytest.raises(KeysError, match="no keys are there"):
        seal_keys(tmp_path / "carla", PASSPHRASE)


def test_a_key_that_others_can_read_or_that_is_none_is_refused(place: Place):
    path = place.root_keys / "root.pem"
    path.chmod(0o644)
    with pytest.raises(KeysError, match="chmod 600"):
        seal_keys(place.root_keys, PASSPHRASE)
    path.chmod(0o600)
    path.write_bytes(b"x" * 5000)
    with pytest.raises(KeysError, match="is it the right file"):
        seal_keys(place.root_keys, PASSPHRASE)
