"""What reads the wire gives a body or raises WireError, whatever it is given."""

import re
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from broker.errors import WireError
from broker.topics import Channel
from tests.conftest import REPOSITORY
from tests.fuzz.guided import fuzz_guided
from tests.fuzz.message_fuzzer import read_message

CORPUS: Final = REPOSITORY / "tests" / "fuzz" / "corpus" / "message"
KEPT: Final = sorted(CORPUS.iterdir())
# Of each type; packs are telemetry.
SECONDS: Final = 15
# What 16,384 bins take, as counts and as the message of version 1 that they unfold to.
UNFOLDED_BYTES: Final = 4 << 20


@pytest.mark.slow
@pytest.mark.parametrize("channel", [channel.value for channel in Channel])
def test_fuzzing_the_messages_of_a_channel_finds_nothing(channel: str, tmp_path: Path) -> None:
    limits = (f"-max_total_time={SECONDS}", "-timeout=10", "-max_len=8192")
    run = fuzz_guided("tests.fuzz.message_fuzzer", channel, CORPUS, tmp_path, *limits)
    crashes = {path.name: path.read_bytes()[:2000] for path in tmp_path.glob("*-*")}
    assert run.returncode == 0, f"{run.stdout[-3000:]}\n{crashes}\nmend it, and keep the input in {CORPUS}"
    executed = re.search(r"number_of_executed_units: (\d+)", run.stdout)
    assert executed is not None
    assert int(executed[1]) > 1000


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_what_fuzzing_found_once_is_taken_or_refused(path: Path) -> None:
    data = path.read_bytes()
    tracemalloc.start()
    with suppress(WireError):
        read_message(data)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < UNFOLDED_BYTES + 64 * len(data)


def test_the_corpus_is_small_and_has_messages_of_every_kind_and_packs_that_are_taken() -> None:
    assert sum(path.stat().st_size for path in KEPT) < 256 << 10
    bodies: set[int] = set()
    for path in KEPT:
        with suppress(WireError):
            bodies.add(read_message(path.read_bytes()))
    assert {1, 2} <= bodies
