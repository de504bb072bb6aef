"""Changed tables by the hundred thousand, with every access checked: none may do worse than be refused.

The corpus is kept: a table for each operation and layout, what once went wrong, and what the fuzzer found on the way.
To go on from it: ``native_driver CORPUS SECONDS SEED KEEP``; tables that reach new code are written to the folder KEEP.
"""

from pathlib import Path

import pytest

from edge_agent.engine.compile import sources
from tests.fuzz.drivers import HERE, build_driver, fuzz


@pytest.mark.slow
def test_no_changed_table_reads_or_writes_where_it_must_not(tmp_path: Path):
    driver = build_driver("native_driver", sources(), tmp_path)
    runs, given, edges = fuzz(driver, HERE / "corpus" / "native", tmp_path)
    # It would be no fuzzing if the tables did not get far into the engine, or the edges were not seen.
    assert given >= 100
    assert edges >= 1000
    assert runs >= 1000
