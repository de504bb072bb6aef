"""Native variants: what the engine refuses is said in the words of the agent."""

import struct
from pathlib import Path

import pytest

from edge_agent.errors import BundleError, RowError, RuntimeMissingError
from edge_agent.scoring.loading import open_runtime
from edge_agent.scoring.native_runtime import NativeRuntime
from tests.unit.edge_agent.examples import classification_manifest, softmax, variant_of, write_native_classifier


def test_a_native_variant_is_opened_by_its_manifest(tmp_path: Path):
    variant = variant_of(write_native_classifier(tmp_path / "model.native"), "native", "native")
    runtime = open_runtime(variant, tmp_path, classification_manifest(variants=(variant,)))
    assert list(runtime.score([1.0, 2.0])) == pytest.approx(softmax([1.0, 2.0]), abs=1e-6)
    runtime.close()


def test_without_an_engine_the_runtime_is_missing_and_the_message_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    variant = variant_of(write_native_classifier(tmp_path / "model.native"), "native", "native")
    monkeypatch.setattr("edge_agent.engine.loading.find_library", lambda: None)
    monkeypatch.setattr("edge_agent.scoring.implementations.find_library", lambda: None)
    from edge_agent.scoring.implementations import installed_runtimes

    assert "native" not in installed_runtimes()
    with pytest.raises(RuntimeMissingError, match=r"needs the runtime native.*edge_agent\.engine\.compile"):
        open_runtime(variant, tmp_path, classification_manifest(variants=(variant,)))


def test_a_damaged_table_is_refused_with_the_reason(tmp_path: Path):
    path = write_native_classifier(tmp_path / "model.native")
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match="the native engine cannot load it: operation 0: its checksum does not fit"):
        NativeRuntime(path, 2, 2)


@pytest.mark.parametrize("face", ["extension", "ctypes"])
def test_rows_that_cannot_be_scored_are_row_errors(tmp_path: Path, face: str):
    path = write_native_classifier(tmp_path / "model.native")
    runtime = NativeRuntime(path, 2, 2, face=face)  # type: ignore[arg-type]  # a parameter is any text
    for row in ([1e39, 0.0], [1.0], ["x", 0.0]):
        with pytest.raises(RowError, match="native engine"):
            runtime.score(row)  # type: ignore[arg-type]  # wrong on purpose
        with pytest.raises(RowError, match="1 rows"):
            runtime.score_batch([row])  # type: ignore[list-item]  # as above
    assert runtime.score_batch([[1.0, 2.0]]) == [runtime.score([1.0, 2.0])]
    runtime.close()
    with pytest.raises(RowError, match="closed"):
        runtime.score([1.0, 2.0])


def test_answers_are_those_of_float32(tmp_path: Path):
    runtime = NativeRuntime(write_native_classifier(tmp_path / "model.native"), 2, 2)
    answer = list(runtime.score([0.1, 0.2]))
    assert answer == list(struct.unpack("2f", struct.pack("2f", *answer)))
