import hashlib
import random
from pathlib import Path

import pytest

from broker.messages import BundleRef
from edge_agent.update.zstd_decoder import find_decoder
from exporter.repository.bundle_targets import FormSizes
from exporter.repository.delta import compress, make_delta
from exporter.repository.listing import load_listing
from exporter.repository.repository import listed_sizes, unlist_bundle
from tests.unit.exporter.places import Place
from tests.unit.exporter.repositories import open_client

CHANCE = random.Random(1)
NOISE = CHANCE.randbytes(20_000)
TEXT = b"node: feature 3, threshold 0.5, left 17, right 18\n" * 200


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path).init()


def custom_of(place: Place, path: str) -> dict[str, object]:
    info = open_client(place.repository, place.folder / "client").get_targetinfo(path)
    assert info is not None
    custom: dict[str, object] = info.custom
    return custom


def sizes(place: Place, version: int) -> dict[str, FormSizes]:
    return {form.file: form for form in listed_sizes(place.repository, BundleRef("digits", version))}


def test_what_zstd_makes_smaller_is_listed_compressed_as_well(place: Place):
    place.publish(1, content=TEXT)
    assert custom_of(place, "digits/1/model.onnx")["compressed"] == "model.onnx.zst"
    frame = place.fetch("digits/1/model.onnx.zst")
    decoder = find_decoder()
    assert frame is not None
    assert decoder is not None
    assert decoder(frame, len(TEXT), None) == TEXT
    assert sizes(place, 1)["model.onnx"] == FormSizes("model.onnx", len(TEXT), len(frame))


def test_what_it_does_not_is_listed_as_it_is(place: Place):
    place.publish(1, content=NOISE)
    assert sizes(place, 1)["model.onnx"] == FormSizes("model.onnx", len(NOISE))
    assert place.fetch("digits/1/model.onnx.zst") is None


def test_a_version_is_listed_as_a_difference_from_the_one_before(place: Place):
    changed = NOISE[:5000] + b"changed" + NOISE[5000:]
    place.publish(1, content=NOISE)
    place.publish(3, content=changed)
    name = "model.onnx.from-1.zst"
    assert custom_of(place, "digits/3/model.onnx")["deltas"] == {hashlib.sha256(NOISE).hexdigest(): name}
    delta = place.fetch(f"digits/3/{name}")
    decoder = find_decoder()
    assert delta is not None
    assert decoder is not None
    assert decoder(delta, len(changed), NOISE) == changed
    assert len(delta) < 200
    assert sizes(place, 3)["model.onnx"].delta_bytes == len(delta)


def test_the_difference_is_from_the_greatest_listed_version_below(place: Place):
    place.publish(1, content=NOISE)
    place.publish(5, content=NOISE[::-1])
    place.publish(2, content=NOISE + b"2")
    unlist_bundle(BundleRef("digits", 2), place.repository, place.keys, clock=place.clock)
    place.publish(3, content=NOISE + b"3")
    assert custom_of(place, "digits/3/model.onnx")["deltas"] == {
        hashlib.sha256(NOISE).hexdigest(): "model.onnx.from-1.zst"
    }


def test_a_difference_that_saves_nothing_is_not_listed(place: Place):
    place.publish(1, content=NOISE)
    place.publish(2, content=TEXT)
    assert "deltas" not in custom_of(place, "digits/2/model.onnx")


def test_a_version_before_that_was_damaged_does_not_hold_up_the_next(place: Place):
    place.publish(1, content=NOISE)
    next((place.repository / "targets" / "digits" / "1").glob("*.model.onnx")).write_bytes(b"damaged")
    place.publish(2, content=NOISE + b"2")
    assert "deltas" not in custom_of(place, "digits/2/model.onnx")
    assert place.fetch("digits/2/model.onnx") == NOISE + b"2"


def test_differences_to_all_but_the_newest_two_versions_are_taken_off_the_list(place: Place):
    for version in (1, 2, 3, 4):
        place.publish(version, content=NOISE + b"%d" % version)
    listed = load_listing(place.repository).models["model-digits"].signed.targets
    deltas = sorted(path for path in listed if ".onnx.from-" in path)
    assert deltas == ["digits/3/model.onnx.from-2.zst", "digits/4/model.onnx.from-3.zst"]
    assert "deltas" not in custom_of(place, "digits/2/model.onnx")
    assert place.fetch("digits/2/model.onnx") == NOISE + b"2"


def test_unlisting_takes_every_form_off_the_list(place: Place):
    place.publish(1, content=TEXT)
    unlist_bundle(BundleRef("digits", 1), place.repository, place.keys, clock=place.clock)
    assert load_listing(place.repository).models["model-digits"].signed.targets == {}


def test_the_same_data_give_the_same_bytes():
    assert compress(TEXT) == compress(TEXT)
    assert make_delta(TEXT, NOISE) == make_delta(TEXT, NOISE)


def test_no_difference_is_made_from_next_to_nothing_or_beyond_the_reach_of_decoders(monkeypatch: pytest.MonkeyPatch):
    assert make_delta(TEXT, b"short") is None
    monkeypatch.setattr("exporter.repository.delta.MAX_WINDOW_LOG", 14)
    assert make_delta(TEXT, NOISE) is None
