"""The slots on the disk: what is read from them is what was proved when it was put there."""

import hashlib
from pathlib import Path

import msgspec
import pytest

from broker.messages import BundleRef
from edge_agent.errors import AlteredError, StorageError
from edge_agent.update.record import SLOTS, Content, Record, Roles, Slots
from edge_agent.update.slots import COMMITTED_NAME, SlotStore, empty_slot, read_record
from tests.bundles import make_bundle
from tests.unit.edge_agent.update.exhaustion import no_files_left


@pytest.fixture
def store(tmp_path: Path) -> SlotStore:
    store = SlotStore(tmp_path)
    make_bundle(store.folder("a"), version=1)
    return store


@pytest.fixture
def content(store: SlotStore) -> Content:
    data = (store.folder("a") / "manifest.json").read_bytes()
    return Content(BundleRef("toy", 1), "onnx-fp32", hashlib.sha256(data).hexdigest())


def test_a_record_is_read_as_it_was_saved(store: SlotStore, content: Content, tmp_path: Path):
    record = Record(roles=Roles("a"), slots=Slots(content), commits=3)
    store.save(record)
    assert store.load().record == record
    assert store.load().recovery is None
    assert read_record(tmp_path) == record


def test_a_new_state_folder_is_no_recovery(tmp_path: Path):
    loaded = SlotStore(tmp_path).load()
    assert loaded.record == Record()
    assert loaded.recovery is None
    assert read_record(tmp_path) is None
    assert all(SlotStore(tmp_path).folder(slot).is_dir() for slot in SLOTS)


def test_a_sound_bundle_is_loaded(store: SlotStore, content: Content):
    bundle = store.load_bundle("a", content)
    assert (bundle.manifest.ref, bundle.variant.name) == (BundleRef("toy", 1), "onnx-fp32")


def test_a_manifest_altered_on_the_disk_is_refused_though_it_reads_well(store: SlotStore, content: Content):
    path = store.folder("a") / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"low"', b'"new"'))
    with pytest.raises(AlteredError, match="not the manifest of toy/1 that was put there"):
        store.load_bundle("a", content)


def test_a_variant_altered_on_the_disk_is_refused(store: SlotStore, content: Content):
    path = store.folder("a") / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(AlteredError, match="SHA-256"):
        store.load_bundle("a", content)


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx"])
def test_a_missing_file_is_refused(store: SlotStore, content: Content, name: str):
    (store.folder("a") / name).unlink()
    with pytest.raises(AlteredError, match="cannot be read"):
        store.load_bundle("a", content)


def test_a_file_that_cannot_be_read_now_says_nothing_of_its_bundle(store: SlotStore, content: Content):
    with no_files_left(), pytest.raises(StorageError, match=r"manifest\.json: cannot be read: Too many open files"):
        store.load_bundle("a", content)


def test_a_record_that_cannot_be_read_now_is_not_taken_for_a_lost_one(
    store: SlotStore, content: Content, tmp_path: Path
):
    record = Record(roles=Roles("a"), slots=Slots(content), commits=3)
    store.save(record)
    with no_files_left(), pytest.raises(StorageError, match=r"update\.json: cannot be read now"):
        store.load()
    assert read_record(tmp_path) == record


def test_a_slot_that_cannot_be_read_is_passed_over_when_the_record_is_rebuilt(store: SlotStore, content: Content):
    store.mark_committed("a", content, 1)
    path = store.folder("a") / "model.onnx"
    path.unlink()
    # A loop: it can neither be read nor is it missing.
    path.symlink_to(path)
    with pytest.raises(StorageError):
        store.load_bundle("a", content)
    assert store.rebuilt().active is None


def test_slots_that_are_passed_over_are_not_rebuilt_from(store: SlotStore, content: Content):
    store.mark_committed("a", content, 1)
    assert store.rebuilt().active == content
    assert store.rebuilt({"a"}).active is None


@pytest.mark.parametrize("changes", [{"bundle": BundleRef("toy", 2)}, {"variant": "tflite-int8"}])
def test_a_record_that_names_something_else_than_lies_there_is_refused(
    store: SlotStore, content: Content, changes: dict[str, object]
):
    with pytest.raises(AlteredError, match="expected"):
        store.load_bundle("a", msgspec.structs.replace(content, **changes))


def test_an_emptied_slot_no_longer_counts_as_committed(store: SlotStore, content: Content):
    store.mark_committed("a", content, 1)
    assert store.load().record.active == content
    empty_slot(store.folder("a"))
    assert list(store.folder("a").iterdir()) == []
    assert store.load().record.active is None


def test_a_mark_that_is_nonsense_is_passed_over(store: SlotStore):
    (store.folder("a") / COMMITTED_NAME).write_bytes(b'{"content": 3}')
    assert store.load().record == Record()


def test_a_slot_that_is_emptied_for_an_update_is_durable_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synced: set[Path] = set()
    monkeypatch.setattr("edge_agent.durable.sync_folder", synced.add)
    store = SlotStore(tmp_path)
    empty_slot(store.folder("b"))
    assert {tmp_path, tmp_path / "slots"} <= synced
