import lzma
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.image.errors import ImageError
from exporter.image.image_file import inspect_image, open_image

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RAW = bytes(510) + b"\x55\xaa" + b"what follows " * 1000


def packed(folder: Path, name: str) -> Path:
    path = folder / name
    forms = {".img": RAW, ".zst": zstd.compress(RAW), ".xz": lzma.compress(RAW)}
    path.write_bytes(forms[path.suffix])
    return path


@pytest.mark.parametrize("name", ["card.img", "card.img.zst", "card.img.xz"])
def test_an_image_is_read_whatever_it_is_packed_in(tmp_path: Path, name: str):
    image = inspect_image(packed(tmp_path, name))
    with open_image(image) as raw:
        assert raw.read() == RAW
    assert image.size_bytes == len(RAW)
    assert image.file_bytes == (tmp_path / name).stat().st_size


def test_what_it_is_packed_in_is_told_by_its_bytes_not_its_name(tmp_path: Path):
    path = packed(tmp_path, "card.img.xz").rename(tmp_path / "card.img")
    assert inspect_image(path).packing == "xz"


def test_the_size_of_many_xz_blocks_is_read_from_the_index(tmp_path: Path):
    raw = tmp_path / "big.img"
    raw.write_bytes(RAW * 200)
    subprocess.run(["xz", "--block-size=100KiB", str(raw)], check=True)
    assert inspect_image(tmp_path / "big.img.xz").size_bytes == len(RAW) * 200


def test_several_xz_streams_are_read_without_a_size_beforehand(tmp_path: Path):
    path = tmp_path / "card.img.xz"
    path.write_bytes(lzma.compress(RAW) + lzma.compress(b"more"))
    image = inspect_image(path)
    assert image.size_bytes is None
    with open_image(image) as raw:
        assert raw.read() == RAW + b"more"


def test_a_zst_stream_that_tells_no_size_has_none(tmp_path: Path):
    path = tmp_path / "card.img.zst"
    compressor = zstd.ZstdCompressor()
    path.write_bytes(compressor.compress(RAW[:1000]) + compressor.compress(RAW[1000:]) + compressor.flush())
    assert inspect_image(path).size_bytes is None


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04" + bytes(2000), b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd\x00\x00", RAW[:511]]
)
def test_a_file_that_is_no_disks_image_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "card.img"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"card\.img (is no image of a disk|is damaged|cannot be read)"):
        inspect_image(path)


@pytest.mark.parametrize("name", ["card.img.zst", "card.img.xz"])
def test_a_packed_image_that_was_cut_is_told_with_its_place(tmp_path: Path, name: str):
    path = packed(tmp_path, name)
    image = inspect_image(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ImageError, match=rf"{name} is damaged at byte"), open_image(image) as raw:
        raw.read()


def test_a_file_that_is_missing_is_told(tmp_path: Path):
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        inspect_image(tmp_path / "none.img")
