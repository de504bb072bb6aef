"""Changed packs by the hundred thousand, with every access checked: none may do worse than be refused.

The corpus is kept: packs and messages, and what the fuzzer found on the way. To go on from it: ``pack_driver CORPUS
SECONDS SEED KEEP``; inputs that reach new code are written to the folder KEEP.
"""

from pathlib import Path

import pytest

from edge_agent.engine.compile import CODEC, sources
from tests.fuzz.drivers import HERE, build_driver, fuzz


@pytest.mark.slow
def test_no_changed_pack_reads_or_writes_where_it_must_not(tmp_path: Path):
    driver = build_driver("pack_driver", sources(CODEC), tmp_path)
    runs, given, edges = fuzz(driver, HERE / "corpus" / "pack", tmp_path)
    # It would be no fuzzing if packs were not read to their end, or the edges were not seen.
    assert given >= 8
    assert edges >= 900
    assert runs >= 1000
