from pathlib import Path
from typing import Any

import pytest

from edge_agent.bundle import MANIFEST_NAME, GoldenRow, encode_manifest
from edge_agent.digest import sha256_of
from edge_agent.errors import BundleError
from edge_agent.update.engine import TrialMeter, open_engine
from edge_agent.update.record import Content
from edge_agent.update.slots import Bundle, SlotStore
from tests.unit.edge_agent.examples import classification_manifest, variant_of, write_native_classifier


def bundle_in(folder: Path, **more: Any) -> tuple[Content, Bundle]:
    folder.mkdir()
    variant = variant_of(write_native_classifier(folder / "model.native"), "native", "native")
    changes: dict[str, Any] = {"variants": (variant,), **more}
    data = encode_manifest(classification_manifest(**changes))
    (folder / MANIFEST_NAME).write_bytes(data)
    content = Content(classification_manifest().ref, "native", sha256_of(data))
    return content, SlotStore.load_from(folder, content)


def test_on_trial_its_golden_rows_are_run_first(tmp_path):
    wrong = classification_manifest().golden[0]
    content, bundle = bundle_in(tmp_path / "a", golden=(GoldenRow(wrong.features, tuple(reversed(wrong.expected))),))
    with pytest.raises(BundleError, match="golden rows differ"):
        open_engine("a", content, bundle, TrialMeter(10))


def test_a_good_one_opens_on_trial_and_after_it(tmp_path):
    content, bundle = bundle_in(tmp_path / "a")
    for meter in (TrialMeter(10), None):
        engine = open_engine("a", content, bundle, meter)
        assert engine.meter is meter
        engine.close()
