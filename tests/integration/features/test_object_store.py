"""Views and whole feature stores on real servers: S3 with keys, and plain HTTP that serves ranges."""

import shutil
from pathlib import Path

import fsspec
import pytest

from tests.object_store import SECRET, ObjectStore, served
from tests.ports import free_port
from tests.unit.trainer.features.small_views import HOURLY, StandingClock
from tests.unit.trainer.features.sources.test_reading import WANTED, latest, parquet_at, view_of
from trainer.errors import DataError
from trainer.features.offline.feature_store import FeatureStore
from trainer.features.storage.address import StoreFiles
from trainer.features.views.view import Source

pytestmark = pytest.mark.slow
BUCKET = "readings"


@pytest.fixture
def store(tmp_path, monkeypatch):
    folder = tmp_path / "objects"
    (folder / BUCKET).mkdir(parents=True)
    with served(folder, "s3") as started:
        for name, value in started.environment.items():
            monkeypatch.setenv(name, value)
        # A connection of an earlier test has its keys and its address.
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        yield started
        fsspec.get_filesystem_class("s3").clear_instance_cache()


def a_view(address: str) -> Source:
    return Source(path=(address,), timestamp="at", known="known")


def test_rows_are_read_from_an_object_store_by_address_and_pattern(store: ObjectStore, tmp_path: Path) -> None:
    parquet_at(f"s3://{BUCKET}/north/rows.parquet")
    assert (store.folder / BUCKET / "north" / "rows.parquet").is_file()
    for number, address in enumerate((f"s3://{BUCKET}/north/rows.parquet", f"s3://{BUCKET}/*/*.parquet")):
        (tmp_path / str(number)).mkdir()
        assert latest(view_of(a_view(address)), tmp_path / str(number)) == WANTED


def test_a_store_of_features_lies_in_an_object_store_and_answers_as_one_on_this_disk(
    store: ObjectStore, tmp_path: Path
) -> None:
    parquet_at(f"file://{tmp_path}/rows.parquet")
    view = view_of(a_view(f"{tmp_path}/rows.parquet"))
    found = []
    for address in (str(tmp_path / "here"), f"s3://{BUCKET}/features"):
        features = FeatureStore(address, StandingClock())
        features.catalogue.register(view)
        from trainer.features.sources.reading import read_source

        features.push("hourly", read_source(view, {}, lambda *_: ()))
        # Another process, which knows the address alone.
        again = FeatureStore(address, StandingClock())
        found.append((again.latest("hourly").to_pylist(), again.catalogue.names()))
    assert found[0] == found[1]
    assert found[0][0] == WANTED
    assert list((store.folder / BUCKET / "features").rglob("*.parquet"))


@pytest.mark.usefixtures("store")
def test_a_wrong_key_and_a_missing_object_are_told_without_the_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=rf"s3://{BUCKET}/nothing\.parquet"):
        latest(view_of(a_view(f"s3://{BUCKET}/nothing.parquet")), tmp_path)
    parquet_at(f"s3://{BUCKET}/rows.parquet")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"not-{SECRET}")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    attempts = (
        lambda: latest(view_of(a_view(f"s3://{BUCKET}/rows.parquet")), tmp_path / "other"),
        lambda: latest(view_of(a_view(f"s3://{BUCKET}/*.parquet")), tmp_path / "third"),
        # Were it taken for an empty store, views would be registered anew beside those that there are.
        lambda: StoreFiles(f"s3://{BUCKET}/features").list("*"),
    )
    for attempt in attempts:
        with pytest.raises(DataError, match="set AWS_ACCESS_KEY_ID") as refusal:
            attempt()
        assert SECRET not in str(refusal.value)


def test_a_store_that_is_gone_is_not_an_empty_one(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    files = StoreFiles(f"s3://{BUCKET}/features")
    files.write("views/one/1.json", b"{}")
    files.write("rows/one/1.parquet", b"PAR1")
    assert files.list("views/*/*.json") == ("views/one/1.json",)
    assert files.list("*/*/1.*") == ("rows/one/1.parquet", "views/one/1.json")
    assert files.list("none/*") == ()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(DataError, match="cannot be reached"):
        StoreFiles(f"s3://{BUCKET}/features").list("views/*/*.json")
    assert store.url


def test_rows_are_read_from_a_plain_http_server(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    folder = tmp_path / "served"
    folder.mkdir()
    parquet_at(f"file://{folder}/rows.parquet")
    with served(folder, "http") as server:
        address = f"{server.url}/rows.parquet"
        with fsspec.open(address) as file:
            # It serves ranges: the end alone is read.
            file.seek(-4, 2)
            assert file.read() == b"PAR1"
        assert latest(view_of(a_view(address)), tmp_path) == WANTED
        shutil.rmtree(folder)
        with pytest.raises(DataError, match=r"/rows\.parquet: cannot be"):
            latest(view_of(a_view(address)), tmp_path / "other")
    assert HOURLY.name == "hourly"
