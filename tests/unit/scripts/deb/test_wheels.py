"""What the package carries of the libraries."""

import hashlib
import io
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scripts.deb.wheels import REQUIREMENTS, FetchError, fetch_wheels, files_of_source, files_of_wheel


def test_a_wheel_gives_what_a_device_needs(tmp_path: Path):
    wheel = tmp_path / "x-1-py3-none-any.whl"
    needed = ("x/__init__.py", "x/_core.so", "x-1.dist-info/METADATA", "x-1.dist-info/licenses/LICENSE")
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in (*needed, "x/__init__.pyi", "x/py.typed", "x-1.dist-info/RECORD", "x-1.dist-info/WHEEL"):
            archive.writestr(name, name)
        archive.writestr("urllib3/contrib/emscripten/worker.js", "")
    assert files_of_wheel(wheel) == {name: name.encode() for name in needed}


@pytest.mark.parametrize(
    ("below", "expected"), [("src/x", {"a.c": b"a"}), ("", {"src/x/a.c": b"a", "LICENSE": b"free"})]
)
def test_a_source_archive_gives_a_folder_or_all(tmp_path: Path, below: str, expected: dict[str, bytes]):
    archive = tmp_path / "x-1.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, data in (("x-1/src/x/a.c", b"a"), ("x-1/LICENSE", b"free")):
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    assert files_of_source(archive, below) == expected


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where pip finds one wheel, and nothing else; the requirements that name it are those of here."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    about = {"METADATA": "Metadata-Version: 2.1\nName: x\nVersion: 1\n", "WHEEL": "Wheel-Version: 1.0\n", "RECORD": ""}
    with zipfile.ZipFile(shelf / "x-1-py3-none-any.whl", "w") as archive:
        archive.writestr("x/__init__.py", "")
        for name, text in about.items():
            archive.writestr(f"x-1.dist-info/{name}", text)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.chdir(tmp_path)
    require((shelf / "x-1-py3-none-any.whl").read_bytes())
    return shelf


def require(wheel: bytes) -> None:
    REQUIREMENTS.parent.mkdir(exist_ok=True)
    REQUIREMENTS.write_text(f"x==1 --hash=sha256:{hashlib.sha256(wheel).hexdigest()}\n")


def fetch(folder: Path) -> tuple[Path, ...]:
    return fetch_wheels(folder / "fetched", ("any",), "3.11")


@pytest.mark.usefixtures("shelf")
def test_builds_at_the_same_time_fetch_the_same_and_leave_nothing_else(tmp_path: Path):
    cache = tmp_path / "cache"
    with ThreadPoolExecutor(2) as builds:
        first, second = builds.map(fetch, (cache, cache))
    assert first == second
    assert [wheel.name for wheel in first] == ["x-1-py3-none-any.whl"]
    assert [path.name for path in cache.iterdir()] == ["fetched"]
    assert list((cache / "fetched").iterdir()) == [first[0].parent]


def test_what_was_fetched_is_not_fetched_again(shelf: Path, tmp_path: Path):
    first = fetch(tmp_path / "cache")
    (shelf / "x-1-py3-none-any.whl").unlink()
    assert fetch(tmp_path / "cache") == first


@pytest.mark.usefixtures("shelf")
def test_of_what_could_not_be_fetched_nothing_is_left(tmp_path: Path):
    require(b"another wheel")
    with pytest.raises(FetchError, match="x==1"):
        fetch(tmp_path / "cache")
    assert not list((tmp_path / "cache" / "fetched").iterdir())
