import numpy as np
import pytest
from msgspec import Struct

from trainer.errors import RunError
from trainer.pipeline.artefacts import (
    Artefact,
    is_intact,
    list_artefacts,
    load_arrays,
    load_value,
    save_arrays,
    save_value,
    sha256_of,
    sync_files,
)


class Finding(Struct, frozen=True):
    name: str
    rows: int


ARRAYS = {"rows": np.arange(6, dtype=np.float32).reshape(3, 2), "kept": np.array([True, False, True])}


def test_arrays_are_read_as_they_were_written(tmp_path):
    save_arrays(tmp_path / "a.npz", ARRAYS)
    loaded = load_arrays(tmp_path / "a.npz")
    assert set(loaded) == {"rows", "kept"}
    for name, array in ARRAYS.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)


def test_the_same_arrays_give_the_same_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        save_arrays(tmp_path / name, ARRAYS)
    assert sha256_of(tmp_path / "a.npz") == sha256_of(tmp_path / "b.npz")


def test_objects_are_neither_written_nor_read(tmp_path):
    objects = np.array([{"a": 1}], dtype=object)
    with pytest.raises(ValueError, match="pickle"):
        save_arrays(tmp_path / "a.npz", {"objects": objects})
    assert not (tmp_path / "a.npz").exists()
    np.savez_compressed(tmp_path / "b.npz", objects=objects)
    with pytest.raises(RunError, match=r"b\.npz: cannot be read"):
        load_arrays(tmp_path / "b.npz")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_half_a_file_is_told_with_its_name_and_what_to_do(share, tmp_path):
    path = tmp_path / "a.npz"
    save_arrays(path, ARRAYS)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(RunError, match=r"a\.npz: cannot be read: .*; start a new run"):
        load_arrays(path)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(RunError, match=r"a\.npz: cannot be read"):
        load_arrays(tmp_path / "a.npz")
    with pytest.raises(RunError, match=r"a\.json: cannot be read"):
        load_value(tmp_path / "a.json", Finding)


def test_values_are_read_as_they_were_written_and_people_can_read_them(tmp_path):
    path = tmp_path / "a.json"
    save_value(path, (Finding("a", 1), Finding("b", 2)))
    assert load_value(path, tuple[Finding, ...]) == (Finding("a", 1), Finding("b", 2))
    assert '"rows": 2\n' in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["", "{", '{"name": "a"}', '{"name": "a", "rows": "many"}', "[]", "\xff"])
def test_a_value_of_another_shape_is_refused(text, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(RunError, match=r"a\.json: cannot be read: .*; start a new run"):
        load_value(path, Finding)


def test_every_file_gets_a_pointer_in_the_order_of_paths_but_those_that_are_excepted(tmp_path):
    (tmp_path / "bundle").mkdir()
    for name in ("b.json", "bundle/model.onnx", "a.npz", "begun"):
        (tmp_path / name).write_text(name)
    found = list_artefacts(tmp_path, besides=frozenset({"begun"}))
    assert [artefact.path for artefact in found] == ["a.npz", "b.json", "bundle/model.onnx"]
    assert found[2] == Artefact("bundle/model.onnx", 17, sha256_of(tmp_path / "bundle" / "model.onnx"))


def test_a_file_that_changed_or_went_is_noticed(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    artefacts = list_artefacts(tmp_path)
    sync_files(tmp_path)
    (tmp_path / "more").write_text("not what the step left behind")
    assert is_intact(tmp_path, artefacts)
    (tmp_path / "a").write_text("A")
    assert not is_intact(tmp_path, artefacts)
    (tmp_path / "a").write_text("a")
    assert is_intact(tmp_path, artefacts)
    (tmp_path / "b").unlink()
    assert not is_intact(tmp_path, artefacts)


def test_an_empty_file_is_told_like_a_broken_one(tmp_path):
    (tmp_path / "a.npz").touch()
    with pytest.raises(RunError, match=r"a\.npz: cannot be read"):
        load_arrays(tmp_path / "a.npz")
