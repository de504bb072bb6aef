"""What the package carries of the libraries."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from scripts.deb.wheels import files_of_source, files_of_wheel


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
