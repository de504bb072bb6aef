"""A cut at any write of any change leaves the state before it served, and the change can be made again."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.messages import BundleRef
from exporter.repository.lifetimes import Lifetimes
from exporter.repository.refresh import refresh_timestamp
from exporter.repository.repository import delegate_model, init_repository, list_bundles, publish_bundle, unlist_bundle
from exporter.repository.roles import Quorum
from exporter.repository.rotation import rotate_key
from tests.unit.exporter.repositories import SetClock, fetch, write_bundle

ONE, TWO = "digits/1/model.onnx", "digits/2/model.onnx"


class CutError(Exception):
    """The power is gone."""


class Place:
    """A repository that lists version 1 of a model, and what is needed to change it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.repository, self.keys = folder, folder / "repository", folder / "keys"
        self.clock = SetClock(time.time())  # noqa: TID251 - TUF's client judges expiry by the machine's clock
        init_repository(self.repository, self.keys, clock=self.clock)
        self.root = (self.repository / "metadata" / "root.json").read_bytes()
        # Files that are worth compressing, so that forms are among what is written.
        publish_bundle(self.bundle(1), self.repository, self.keys, clock=self.clock)

    def bundle(self, version: int, name: str = "digits") -> Path:
        folder = self.folder / f"{name}{version}"
        if folder.exists():
            return folder
        return write_bundle(folder, version, b"node" * 1000 + b"v%d" % version, name)

    def fetch(self, device: str, target: str) -> bytes | None:
        return fetch(self.repository, self.folder / device, target, self.root)


def publish_second(place: Place) -> None:
    publish_bundle(place.bundle(2), place.repository, place.keys, clock=place.clock)


def publish_other_model(place: Place) -> None:
    publish_bundle(place.bundle(1, "other"), place.repository, place.keys, clock=place.clock)


def delegate_other_model(place: Place) -> None:
    if "model-other" not in str(sorted((place.repository / "metadata").iterdir())):
        delegate_model("other", place.repository, place.keys, quorum=Quorum(2, 2), clock=place.clock)


def unlist_first(place: Place) -> None:
    if list_bundles(place.repository):
        unlist_bundle(BundleRef("digits", 1), place.repository, place.keys, clock=place.clock)


def refresh_all(place: Place) -> None:
    # Their lives are long: each role counts as old.
    years = Lifetimes(*[10 * Lifetimes().root] * 4)
    refreshed = refresh_timestamp(place.repository, place.keys, clock=place.clock, lifetimes=years)
    assert set(refreshed.signed) >= {"targets", "model-digits", "snapshot", "timestamp"}


def rotate(role: str) -> Callable[[Place], None]:
    def rotate_role(place: Place) -> None:
        rotate_key(role, place.repository, place.keys, clock=place.clock)

    return rotate_role


@pytest.mark.parametrize(
    "change",
    [
        publish_second,
        publish_other_model,
        delegate_other_model,
        unlist_first,
        refresh_all,
        *[rotate(role) for role in ("root", "targets", "snapshot", "timestamp", "model-digits")],
    ],
)
def test_a_cut_at_any_write_leaves_what_was_listed_to_devices_that_know_it_and_to_new_ones(
    change: Callable[[Place], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rename = Path.replace
    for n_writes in range(40):
        place = Place(tmp_path / str(n_writes))
        first = place.fetch("old", ONE)
        left = [n_writes]

        def cutting(path: Path, target: Path, left: list[int] = left) -> Path:
            if left[0] == 0:
                raise CutError
            left[0] -= 1
            return rename(path, target)

        monkeypatch.setattr(Path, "replace", cutting)
        try:
            change(place)
        except CutError:
            monkeypatch.undo()
            for device in ("old", "new"):
                assert place.fetch(device, ONE) == first
                assert place.fetch(device, TWO) is None
            assert list_bundles(place.repository) == (BundleRef("digits", 1),)
        else:
            monkeypatch.undo()
            break
        change(place)
        wanted = None if change is unlist_first else first
        assert [place.fetch(device, ONE) for device in ("old", "new")] == [wanted, wanted]
    else:
        raise AssertionError("more than 40 writes")
    assert n_writes > 1


def test_the_timestamp_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = Place(tmp_path)
    rename = Path.replace
    written: list[str] = []

    def note(path: Path, target: Path) -> Path:
        written.append(target.name)
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", note)
    publish_second(place)
    # After their hashes stand their names.
    files = ["manifest.json", "manifest.json.zst", "manifest.json.from-1.zst", "model.onnx", "model.onnx.zst"]
    assert [name.partition(".")[2] for name in written[:-3]] == files
    assert written[-3:] == ["2.model-digits.json", "3.snapshot.json", "timestamp.json"]
