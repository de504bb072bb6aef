import hashlib
import json
import lzma
from pathlib import Path
from typing import Final

import jsonschema
import pytest
from typer.testing import CliRunner

from exporter.image.cli import app
from tests.unit.exporter.image.disks_of_memory import example_image

# The keys that Imager's own documentation asks of an entry, and their types (rpi-imager, doc/schema-notes.md).
TEXT: Final = {"type": "string", "minLength": 1}
SHA256: Final = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
REQUIRED: Final = (
    *("name", "description", "icon", "url", "extract_size", "extract_sha256"),
    *("image_download_size", "release_date", "devices"),
)
ENTRY: Final = {
    "type": "object",
    "required": list(REQUIRED),
    "properties": {
        "name": TEXT,
        "description": TEXT,
        "icon": TEXT,
        "url": {"type": "string", "pattern": "^(https?|file)://"},
        "extract_size": {"type": "integer", "minimum": 512},
        "extract_sha256": SHA256,
        "image_download_size": {"type": "integer", "minimum": 1},
        "image_download_sha256": SHA256,
        "release_date": {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"},
        "init_format": {"enum": ["none", "systemd", "cloudinit", "cloudinit-rpi"]},
        "devices": {"type": "array", "items": TEXT, "minItems": 1},
    },
    "additionalProperties": False,
}
SCHEMA: Final = {
    "type": "object",
    "required": ["os_list"],
    "properties": {"os_list": {"type": "array", "items": ENTRY}},
    "additionalProperties": False,
}


def test_the_list_has_the_keys_that_imager_documents_and_the_unpacked_images_sum(tmp_path: Path):
    raw = example_image(tmp_path).path.read_bytes()
    path = tmp_path / "card.img.xz"
    path.write_bytes(lzma.compress(raw))
    said = CliRunner().invoke(app, ["imager-list", str(path), "--url", "https://example.org/card.img.xz"])
    assert said.exit_code == 0, said.output
    listed = json.loads((tmp_path / "card.img.xz.rpi-imager-manifest").read_text())
    jsonschema.validate(listed, SCHEMA)
    (entry,) = listed["os_list"]
    assert entry["extract_sha256"] == hashlib.sha256(raw).hexdigest()
    assert entry["extract_size"] == len(raw)
    assert entry["image_download_size"] == path.stat().st_size


def test_a_board_that_imager_does_not_know_is_refused(tmp_path: Path):
    image = example_image(tmp_path)
    said = CliRunner().invoke(app, ["imager-list", str(image.path), "--device", "pi3"])
    assert said.exit_code == 2
    assert "pi3-64bit" in said.output


@pytest.mark.parametrize("missing", ["extract_sha256", "devices"])
def test_the_schema_of_this_test_can_fail(missing: str):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"os_list": [{name: "x" for name in REQUIRED if name != missing}]}, SCHEMA)
