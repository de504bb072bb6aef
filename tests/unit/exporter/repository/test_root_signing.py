import json
from datetime import timedelta
from pathlib import Path

import pytest

from exporter.errors import KeysError, MissingSignaturesError, RepositoryError
from exporter.repository.keys import load_public_key, make_named_key, open_keyring
from exporter.repository.lifetimes import Lifetimes
from exporter.repository.listing import load_root
from exporter.repository.refresh import refresh_timestamp
from exporter.repository.repository import init_repository
from exporter.repository.roles import Quorum
from exporter.repository.root_changes import NO_CHANGES, prepare_root, root_changes
from exporter.repository.root_signing import finish_root, load_prepared, renew_root, save_prepared, sign_root
from tests.unit.exporter.places import Place

ONE = "digits/1/model.onnx"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A repository of which two of three root keys must sign the root."""
    return Place(tmp_path).init(root=Quorum(3, 2))


def test_the_root_bears_the_signatures_that_it_takes(place: Place):
    root = load_root(place.repository)
    assert root.signed.roles["root"].threshold == 2
    assert len(root.signatures) == len(root.signed.roles["root"].keyids) == 3
    assert place.fetch(ONE) is None


@pytest.mark.parametrize("threshold", [0, 4])
def test_a_threshold_that_nobody_can_reach_is_refused(tmp_path: Path, threshold: int):
    with pytest.raises(RepositoryError, match=f"root: {threshold} of 3 keys cannot sign"):
        Place(tmp_path).init(root=Quorum(3, threshold))
    assert not (tmp_path / "keys").exists()


def test_root_keys_where_they_are_served_are_refused(place: Place, tmp_path: Path):
    with pytest.raises(RepositoryError, match="would be served"):
        init_repository(
            tmp_path / "r", tmp_path / "k", clock=place.clock, root_keys_folder=tmp_path / "r" / "root-keys"
        )


def test_publishing_never_needs_the_keys_of_the_root(place: Place):
    place.carry_away("root")
    place.publish()
    assert refresh_timestamp(place.repository, place.keys, clock=place.clock).signed == ("timestamp",)
    assert place.fetch(ONE) == b"v1"


def test_a_root_is_signed_in_two_places_one_after_the_other(place: Place):
    place.publish()
    first, second = place.folder / "anna", place.folder / "ben"
    for folder, name in ((first, "root.pem"), (second, "root+2.pem")):
        folder.mkdir()
        (place.root_keys / name).rename(folder / name)
    file = place.folder / "next.json"
    save_prepared(prepare_root(place.repository, NO_CHANGES, clock=place.clock), file)
    for folder, needed in ((first, 1), (first, 1), (second, 0)):
        prepared = load_prepared(file)
        signatures = sign_root(prepared, load_root(place.repository), open_keyring([folder]))
        assert signatures.needed == needed
        save_prepared(prepared, file)
        if needed:
            with pytest.raises(MissingSignaturesError, match=r"root: 1 of 2 .* 1 more needed.*root\+2 .*root\+3"):
                finish_root(prepared, place.repository, place.keys, clock=place.clock)
    finish_root(load_prepared(file), place.repository, place.keys, clock=place.clock)
    assert load_root(place.repository).signed.version == 2
    assert place.fetch(ONE) == b"v1"


def test_a_new_owner_of_a_key_takes_the_place_of_an_old_one(place: Place):
    place.publish()
    assert place.fetch(ONE) == b"v1"
    carla = place.folder / "carla"
    public = make_named_key(carla, "carla")
    assert (carla / "carla.pem").stat().st_mode & 0o777 == 0o600
    changes = root_changes(place.repository, add=[load_public_key(public)], remove=["root+3"])
    prepared = prepare_root(place.repository, changes, clock=place.clock)
    assert sign_root(prepared, load_root(place.repository), open_keyring([place.root_keys])).needed == 0
    finish_root(prepared, place.repository, place.keys, clock=place.clock)
    (place.root_keys / "root+2.pem").unlink()
    renew_root(place.repository, place.keys, [place.root_keys, carla], clock=place.clock)
    assert load_root(place.repository).signed.version == 3
    assert place.fetch(ONE) == b"v1"
    (carla / "carla.pem").unlink()
    with pytest.raises(MissingSignaturesError):
        renew_root(place.repository, place.keys, place.root_keys, clock=place.clock)


def test_the_new_roots_own_threshold_must_sign_as_well(place: Place):
    public = make_named_key(place.folder / "carla", "carla")
    changes = root_changes(place.repository, add=[load_public_key(public)], threshold=4)
    prepared = prepare_root(place.repository, changes, clock=place.clock)
    signatures = sign_root(prepared, load_root(place.repository), open_keyring([place.root_keys]))
    assert signatures.needed == 1
    assert [name.partition(" ")[0] for name in signatures.away] == ["carla"]
    with pytest.raises(MissingSignaturesError, match="carla"):
        finish_root(prepared, place.repository, place.keys, clock=place.clock)


def test_other_roles_get_new_keys_by_a_root_that_is_signed_elsewhere(place: Place):
    place.publish()
    assert place.fetch(ONE) == b"v1"
    away = place.carry_away("root")
    changes = root_changes(place.repository, rotate=["timestamp", "snapshot"], home=place.keys)
    prepared = prepare_root(place.repository, changes, clock=place.clock)
    sign_root(prepared, load_root(place.repository), open_keyring([away / "root"]))
    finish_root(prepared, place.repository, place.keys, clock=place.clock)
    for name in ("timestamp.pem", "snapshot.pem"):
        (place.keys / name).unlink()
    place.publish(2)
    assert place.fetch("digits/2/model.onnx") == b"v2"


def test_a_root_that_does_not_follow_the_newest_is_refused(place: Place):
    prepared = prepare_root(place.repository, NO_CHANGES, clock=place.clock)
    renew_root(place.repository, place.keys, place.root_keys, clock=place.clock)
    with pytest.raises(RepositoryError, match="3 is next: prepare it again"):
        sign_root(prepared, load_root(place.repository), open_keyring([place.root_keys]))


def test_keys_of_others_sign_nothing(place: Place):
    init_repository(place.folder / "r", place.folder / "k", clock=place.clock)
    prepared = prepare_root(place.repository, NO_CHANGES, clock=place.clock)
    with pytest.raises(KeysError, match="no root key of this repository is in"):
        sign_root(prepared, load_root(place.repository), open_keyring([place.folder / "k" / "root"]))


def test_a_key_that_is_not_there_cannot_be_removed(place: Place):
    with pytest.raises(KeysError, match=r"root has no key 'dora'; it has root \("):
        root_changes(place.repository, remove=["dora"])


def test_fewer_keys_than_must_sign_are_refused(place: Place):
    changes = root_changes(place.repository, remove=["root", "root+2"])
    with pytest.raises(RepositoryError, match="root would have 1 keys, of which 2 must sign"):
        prepare_root(place.repository, changes, clock=place.clock)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_what_is_no_public_key_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "x.pub").write_bytes(content)
    with pytest.raises(KeysError, match="not a PEM public key"):
        load_public_key(tmp_path / "x.pub")


def test_a_broken_chain_of_roots_is_not_carried_on(place: Place):
    for _ in range(2):
        renew_root(place.repository, place.keys, place.root_keys, clock=place.clock)
    (place.repository / "metadata" / "2.root.json").unlink()
    with pytest.raises(RepositoryError, match="do not follow each other"):
        place.publish()


def test_a_root_that_others_put_there_is_not_carried_on(place: Place):
    foreign = Place(place.folder / "foreign")
    foreign.folder.mkdir()
    foreign.init()
    data = json.loads((foreign.repository / "metadata" / "1.root.json").read_bytes())
    data["signed"]["version"] = 2
    (place.repository / "metadata" / "2.root.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(RepositoryError, match=r"2\.root\.json: not signed by this repository's root key"):
        place.publish()


def test_a_first_root_that_names_our_keys_and_others_is_not_followed_unasked(place: Place):
    # Whoever can write to the folder can put a chain there that begins with them.
    lifetimes = Lifetimes(root=timedelta(days=1))
    foreign = place.folder / "foreign-keys"
    public = make_named_key(foreign, "evil")
    root = load_root(place.repository)
    root.signed.add_key(load_public_key(public), "root")
    root.signed.roles["root"].threshold = 1
    root.signed.expires = root.signed.expires.replace(year=2000)
    root.signatures.clear()
    root.sign(next(iter(open_keyring([foreign]).signers.values())))
    (place.repository / "metadata" / "1.root.json").write_bytes(root.to_bytes())
    refreshed = refresh_timestamp(place.repository, place.keys, clock=place.clock, lifetimes=lifetimes)
    assert [waiting.role for waiting in refreshed.waiting] == ["root"]
    assert "was not signed by any of these root keys" in refreshed.waiting[0].reason
    assert not (place.repository / "metadata" / "2.root.json").exists()
