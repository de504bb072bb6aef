"""The files below an address: as they were written, and with what to do where nothing can be read or written."""

import sys
from collections.abc import Callable
from itertools import count
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from trainer.errors import DataError
from trainer.features.sources.files import read_files
from trainer.features.storage.address import StoreFiles

_NUMBERS = count()


class Locked(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A store that nobody has keys to, in the words of Arrow's client."""

    protocol = "s3"

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise OSError("When listing objects: AWS Error ACCESS_DENIED during ListObjectsV2 operation: Access Denied.")

    glob = cat_file = pipe_file = exists = rm_file = _refuse


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> None:
    # What is loaded already; a class that is registered anew would stay for the tests that follow.
    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "s3", Locked)


@pytest.fixture(params=["folder", "memory"])
def files(request: pytest.FixtureRequest, tmp_path: Any) -> StoreFiles:
    return StoreFiles(str(tmp_path / "store") if request.param == "folder" else f"memory://{next(_NUMBERS)}-files")


def test_a_file_is_listed_read_replaced_created_once_and_removed(files: StoreFiles) -> None:
    assert files.list("views/*.json") == ()
    files.write("views/a.json", b"1")
    files.write("views/a.json", b"2")
    assert files.create("views/b.json", b"3")
    assert not files.create("views/b.json", b"4")
    assert files.list("views/*.json") == ("views/a.json", "views/b.json")
    assert (files.read("views/a.json"), files.read("views/b.json")) == (b"2", b"3")
    files.remove(["views/a.json", "views/a.json"])
    assert files.list("views/*.json") == ("views/b.json",)
    with pytest.raises(DataError, match=r"views/a\.json: cannot be reached"):
        files.read("views/a.json")


def without(package: str) -> Callable[..., Any]:
    def missing(*_: Any, **__: Any) -> Any:
        raise ImportError(f"Install {package} to access it")

    return missing


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("https://host/store", "pip install 'fieldloop[http]'"),
        ("gcs://bucket/store", "Install gcsfs to access it"),
    ],
)
def test_a_package_that_is_missing_is_named_with_the_line_that_installs_it(
    address: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fsspec, "filesystem", without("gcsfs"))
    monkeypatch.setattr(fsspec.core, "url_to_fs", without("gcsfs"))
    for attempt in (lambda: StoreFiles(address), lambda: list(read_files((address,)))):
        with pytest.raises(DataError) as refusal:
            attempt()
        assert str(refusal.value) == f"{address}: what reads such an address is not installed: {told}"


def test_an_address_of_no_known_kind_is_told() -> None:
    with pytest.raises(DataError, match="tp://host/store: cannot be reached: Protocol not known"):
        StoreFiles("tp://host/store")


@pytest.mark.parametrize(
    "attempt",
    [
        lambda files: files.list("*"),
        lambda files: files.read("a"),
        lambda files: files.write("a", b""),
        lambda files: files.create("a", b""),
        lambda files: files.remove(["a"]),
        lambda _: list(read_files(("s3://me:secret@store/*.csv",))),
    ],
    ids=["list", "read", "write", "create", "remove", "source"],
)
@pytest.mark.usefixtures("locked")
def test_a_store_without_keys_is_told_with_where_they_are_taken_from(attempt: Callable[[StoreFiles], object]) -> None:
    with pytest.raises(DataError, match="Access Denied; set AWS_ACCESS_KEY_ID") as refusal:
        attempt(StoreFiles("s3://me:secret@store"))
    assert "s3://me:" in str(refusal.value)
    assert "secret" not in str(refusal.value)
