"""What reads bundles, settings and rows gives a value or refuses, whatever it is given."""

import re
import subprocess
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import pytest

from edge_agent.errors import BundleError
from exporter.bundles.schema import build_schema
from tests.conftest import REPOSITORY
from tests.fuzz.bundle_fuzzer import PARSERS, WRONG
from tests.fuzz.guided import fuzz_guided

CORPUS: Final = REPOSITORY / "tests" / "fuzz" / "corpus"
SECONDS: Final = 30
KEPT: Final = [(parser, path) for parser in PARSERS for path in sorted((CORPUS / parser).iterdir())]
WORDS: Final = ("PK\\x01\\x02", "PK\\x03\\x04", "PK\\x05\\x06", "NaN", "Infinity", "1e999", "\\xef\\xbb\\xbf", "../")


def fuzz(parser: str, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Fuzz a parser from its kept corpus, with the words of a bundle."""
    names = {name for part in build_schema()["$defs"].values() for name in part.get("properties", ())}
    words = (*WORDS, *(rf"\"{name}\"" for name in sorted(names)))
    (folder / "words").write_text("\n".join(f'"{word}"' for word in words) + "\n")
    kept = CORPUS / parser if parser in PARSERS else None
    return fuzz_guided("tests.fuzz.bundle_fuzzer", parser, kept, folder, f"-dict={folder / 'words'}", *flags)


@pytest.mark.slow
@pytest.mark.parametrize("parser", PARSERS)
def test_half_a_minute_of_fuzzing_finds_nothing(parser: str, tmp_path: Path) -> None:
    run = fuzz(parser, tmp_path, f"-max_total_time={SECONDS}", "-timeout=10", "-max_len=16384")
    crashes = {path.name: path.read_bytes()[:2000] for path in tmp_path.glob("*-*")}
    assert run.returncode == 0, f"{run.stdout[-3000:]}\n{crashes}\nmend it, and keep the input in {CORPUS / parser}"
    executed = re.search(r"number_of_executed_units: (\d+)", run.stdout)
    assert executed is not None
    assert int(executed[1]) > 1000


@pytest.mark.parametrize(
    ("parser", "told"), [("raises", "KeyError"), ("allocates", "MemoryError"), ("hangs", "timeout")]
)
def test_a_wrong_parser_would_be_found(parser: str, told: str, tmp_path: Path) -> None:
    assert parser in WRONG
    run = fuzz(parser, tmp_path, "-max_total_time=20", "-timeout=1")
    assert run.returncode != 0
    assert told in run.stdout


def test_memory_that_the_tests_took_before_is_not_held_against_a_parser(tmp_path: Path) -> None:
    taken = b"\1" * (1200 << 20)
    del taken
    assert fuzz("lines", tmp_path, "-max_total_time=4").returncode == 0


@pytest.mark.parametrize(("parser", "path"), KEPT, ids=lambda value: getattr(value, "name", value))
def test_what_fuzzing_found_once_is_taken_or_refused(parser: str, path: Path) -> None:
    data = path.read_bytes()
    # Once before: what is imported and prepared at the first call is not the input's.
    with suppress(BundleError):
        PARSERS[parser](data)
    tracemalloc.start()
    with suppress(BundleError):
        PARSERS[parser](data)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < (1 << 20) + 64 * len(data)


def test_the_corpus_is_kept_and_small() -> None:
    assert {parser for parser, _ in KEPT} == set(PARSERS)
    assert sum(path.stat().st_size for _, path in KEPT) < 1 << 20


def test_some_of_the_corpus_is_taken() -> None:
    taken = set()
    for parser, path in KEPT:
        with suppress(BundleError, msgspec.MsgspecError):
            PARSERS[parser](path.read_bytes())
            taken.add(parser)
    assert taken == set(PARSERS)
