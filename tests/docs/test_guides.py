"""Runs README.md and every guide, block by block, as the convention in tests/docs/blocks.py says."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.docs.blocks import parse_page
from tests.docs.page_run import PageRun

PAGES = ("README.md", *sorted(f"docs/guides/{page.name}" for page in (REPOSITORY / "docs" / "guides").glob("*.md")))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_tells_its_reader_to_do_works(
    page: str, tmp_path: Path, free_ports: Callable[[int], list[int]]
) -> None:
    with PageRun(tmp_path, free_ports) as run:
        for step in parse_page((REPOSITORY / page).read_text(encoding="utf-8")):
            run.take(step)
