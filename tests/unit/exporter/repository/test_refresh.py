from datetime import timedelta
from pathlib import Path

import pytest

from exporter.errors import KeysError
from exporter.repository.lifetimes import Lifetimes
from exporter.repository.refresh import refresh_timestamp
from exporter.repository.status import read_status
from tests.unit.exporter.places import Place

ONE = "digits/1/model.onnx"
# So long that what has just been signed has lived more than half of it.
LONG = Lifetimes(timedelta(days=3000), timedelta(days=3000), timedelta(days=3000), timedelta(days=1))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path).init()
    place.publish()
    return place


def test_with_all_keys_at_hand_everything_that_is_old_is_signed_anew(place: Place):
    refreshed = refresh_timestamp(place.repository, place.keys, clock=place.clock, lifetimes=LONG)
    assert refreshed.signed == ("root", "targets", "model-digits", "snapshot", "timestamp")
    assert refreshed.waiting == ()
    assert place.fetch(ONE) == b"v1"


@pytest.mark.parametrize(
    ("away", "waiting"), [("root", "root"), ("targets.pem", "targets"), ("model-digits.pem", "model-digits")]
)
def test_what_takes_keys_that_are_away_waits_and_the_rest_is_signed(place: Place, away: str, waiting: str):
    place.carry_away(away)
    refreshed = refresh_timestamp(place.repository, place.keys, clock=place.clock, lifetimes=LONG)
    assert set(refreshed.signed) == {"root", "targets", "model-digits", "snapshot", "timestamp"} - {waiting}
    (told,) = refreshed.waiting
    (status,) = (role for role in read_status(place.repository, clock=place.clock) if role.role == waiting)
    assert (told.role, told.expires) == (waiting, status.expires)
    assert f"{waiting} expires at {status.expires:%Y-%m-%d %H:%M} UTC" in str(told)
    assert "1 more needed" in str(told)
    command = "root renew" if waiting == "root" else "refresh"
    assert f"fieldloop repository {command} --repository {place.repository}" in told.command
    assert place.fetch(ONE) == b"v1"


@pytest.mark.parametrize("away", ["timestamp.pem", "snapshot.pem"])
def test_the_keys_of_timestamp_and_snapshot_must_be_at_hand(place: Place, away: str):
    place.carry_away(away)
    with pytest.raises(KeysError, match=f"{away.removesuffix('.pem')}: 0 of 1 signatures"):
        refresh_timestamp(place.repository, place.keys, clock=place.clock, lifetimes=LONG)


def test_a_root_in_a_folder_of_its_own_is_signed_when_that_folder_is_named(place: Place):
    away = place.carry_away("root")
    keys = [place.keys, away / "root"]
    assert "root" in refresh_timestamp(place.repository, keys, clock=place.clock, lifetimes=LONG).signed


def test_keys_in_one_folder_as_they_were_of_old_sign_all(tmp_path: Path):
    place = Place(tmp_path).init_old()
    place.publish()
    refreshed = refresh_timestamp(place.repository, place.keys, clock=place.clock, lifetimes=LONG)
    assert refreshed.signed == ("root", "targets", "model-digits", "snapshot", "timestamp")
    assert place.fetch(ONE) == b"v1"


def test_a_key_that_others_can_read_counts_as_away(place: Place):
    (place.keys / "timestamp.pem").chmod(0o640)
    with pytest.raises(KeysError, match=r"timestamp\.pem: others can read or write this key; run chmod 600 on it"):
        refresh_timestamp(place.repository, place.keys, clock=place.clock)
