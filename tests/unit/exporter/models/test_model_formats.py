import bz2
import gzip
import io
import lzma
import pickle
import sys
import types
import zipfile
import zlib

import joblib
import numpy as np
import onnx
import pytest
import skops.io
from lightgbm import LGBMRegressor
from sklearn.linear_model import Ridge
from xgboost import XGBRegressor

from exporter.errors import ModelError
from exporter.models.model_formats import FORMATS, format_of, load_model

RNG = np.random.default_rng(1)
ROWS = RNG.normal(size=(40, 3)).astype(np.float32)
RIDGE = Ridge().fit(ROWS, ROWS[:, 0])


class Trap:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def pickles():
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield f"protocol {protocol}", pickle.dumps(Trap(), protocol)
    plain = pickle.dumps(Trap())
    for squeeze in (zlib.compress, gzip.compress, bz2.compress, lzma.compress):
        yield f"{squeeze.__module__}", squeeze(plain)
    for compress in ("zlib", "gzip", "bz2", "lzma", "xz"):
        buffer = io.BytesIO()
        joblib.dump(Trap(), buffer, compress=(compress, 3))
        yield f"joblib {compress}", buffer.getvalue()


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in pickles()])
@pytest.mark.parametrize("name", ["model.pkl", "model.skops", "model.onnx", "model"])
def test_a_pickle_is_not_opened_under_any_name(data, name, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelError, match=r"a pickle, which can run any code.*skops\.io\.dump.*--trust-pickle"):
        load_model(tmp_path / name)


@pytest.mark.parametrize("write", [joblib.dump, lambda model, path: path.write_bytes(pickle.dumps(model))])
def test_a_trusted_pickle_is_loaded_and_that_is_told(write, tmp_path, caplog):
    write(RIDGE, tmp_path / "model.joblib")
    loaded = load_model(tmp_path / "model.joblib", trust_pickle=True)
    assert np.array_equal(loaded.predict(ROWS), RIDGE.predict(ROWS))
    assert "loading it runs code that it brings" in caplog.text


def test_a_compressed_trusted_pickle_is_loaded(tmp_path):
    joblib.dump(RIDGE, tmp_path / "model.joblib", compress=3)
    assert np.array_equal(load_model(tmp_path / "model.joblib", trust_pickle=True).predict(ROWS), RIDGE.predict(ROWS))


def test_a_skops_file_is_told_by_its_content(tmp_path):
    skops.io.dump(RIDGE, tmp_path / "model.bin")
    assert np.array_equal(load_model(tmp_path / "model.bin").predict(ROWS), RIDGE.predict(ROWS))


def boosters(folder):
    light = LGBMRegressor(n_estimators=2, verbose=-1).fit(ROWS, ROWS[:, 0])
    light.booster_.save_model(folder / "a")
    yield "LightGBM", "exporter.reading.lightgbm", folder / "a"
    (folder / "b").write_text('{"name": "tree", "version": "v4", "tree_info": []}')
    yield "LightGBM", "exporter.reading.lightgbm", folder / "b"
    extreme = XGBRegressor(n_estimators=2).fit(ROWS, ROWS[:, 0])
    for name in ("c.json", "d.ubj"):
        extreme.save_model(folder / name)
        (folder / name).rename(folder / name[0])
        yield "XGBoost", "exporter.reading.xgboost", folder / name[0]
    graph = onnx.helper.make_graph([], "g", [], [])
    onnx.save(onnx.helper.make_model(graph), folder / "e")
    yield "ONNX", "exporter.graphs.graph", folder / "e"


def test_models_of_others_go_to_their_own_loaders(tmp_path, monkeypatch):
    for name, module, path in boosters(tmp_path):
        asked = types.ModuleType(module)
        vars(asked)["load_model_file"] = lambda asked_path: asked_path
        monkeypatch.setitem(sys.modules, module, asked)
        found = format_of(path.read_bytes()[:4096])
        assert found is not None
        assert found.name == name
        assert load_model(path) == path


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "m").write_text("tree\nversion=v4\n")
    monkeypatch.setitem(sys.modules, "exporter.reading.lightgbm", None)
    with pytest.raises(ModelError, match="a LightGBM model needs the package lightgbm"):
        load_model(tmp_path / "m")


def zipped(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "{}")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (zipped("archive/data.pkl"), r"a file of PyTorch: export it with torch\.onnx\.export"),
        (zipped("metadata.json", "config.json"), "a file of Keras: convert it with tf2onnx"),
        (b"\x89HDF\r\n\x1a\n", "a file of HDF5: convert it"),
        (b"\x1c\x00\x00\x00TFL3", "a file of TFLite: it runs on devices already"),
        (b"", "of no known format"),
        (b"hello, world", r"of no known format \(skops, pickle, LightGBM, XGBoost, ONNX\)"),
        (zipped("hello"), "not a skops file"),
    ],
)
def test_other_files_are_refused_with_advice(data, message, tmp_path):
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path / "m")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"absent\.skops: cannot be read"):
        load_model(tmp_path / "absent.skops")


def test_every_format_that_nobody_loads_has_advice():
    assert all(known.loader or known.advice for known in FORMATS)
