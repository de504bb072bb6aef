"""What an image takes to build, and what it does in an emulated board; the bounds are the peers.

Every boot is a first one: a new card, which enrols by a claim token. With ``FIELDLOOP_BENCH_IMAGE=short`` each machine
starts once, and no root is built from nothing.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Final

import pytest

from benchmarks.conftest import RecordRatio
from benchmarks.emulated_boards import agent_pss_bytes, devices_of, first_score, started_board, wait_for_a_new_device
from edge_agent.clock import SystemClock
from exporter.image.emulation.machines import MachineName
from tests.arm.system.cards import build_card
from tests.arm.system.world import CardWorld, open_card_world

IS_SHORT: Final = os.environ.get("FIELDLOOP_BENCH_IMAGE") == "short"
BOOTS: Final = 1 if IS_SHORT else 5
SAMPLES: Final = 10
PAUSE_S: Final = 2.0
REACH_BOOT_S: Final[dict[MachineName, float]] = {"virt": 30.0, "raspi3b": 75.0}
# AWS's own report on the lite nucleus of IoT Greengrass, on a Raspberry Pi 3; it scores nothing.
NUCLEUS_LITE_MB: Final = 12.4
_MB: Final = 1e6

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CardWorld]:
    with open_card_world(tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture(scope="module")
def image(world: CardWorld) -> Path:
    return build_card(world.describe_card("alike", device="bench-*", uses=100), world.folder / "alike.img")


@pytest.mark.skipif(IS_SHORT, reason="takes minutes")
def bench_a_cold_build(world: CardWorld, tmp_path: Path, monkeypatch, record_ratio: RecordRatio) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    seconds = _build_s(world, "cold", tmp_path)
    record_ratio("image: build from nothing / 6 minutes", ours=seconds, peer=360.0, reach=1.0, unit="s", runs=1)


def bench_a_rebuild_for_another_identity(
    world: CardWorld, image: Path, tmp_path: Path, record_ratio: RecordRatio
) -> None:
    assert image.exists()
    times = [_build_s(world, f"another-{number}", tmp_path) for number in range(BOOTS)]
    record_ratio(
        "image: rebuild for another identity / 20 s", ours=median(times), peer=20.0, reach=1.0, unit="s", runs=BOOTS
    )


@pytest.mark.parametrize(("runtime", "bound_mb"), [(None, 150.0), ("onnxruntime", 200.0)])
def bench_the_compressed_image(
    runtime: str | None, bound_mb: float, world: CardWorld, tmp_path: Path, record_ratio: RecordRatio
) -> None:
    image = build_card(
        world.describe_card(f"packed-{runtime}", device="size-*"),
        tmp_path / "card.img",
        runtime=runtime,
        is_packed=True,
    )
    packed = image.with_name(f"{image.name}.zst").stat().st_size
    what = "native engine only" if runtime is None else f"with {runtime}"
    record_ratio(
        f"image: compressed, {what} / {bound_mb:g} MB",
        ours=packed / _MB,
        peer=bound_mb,
        reach=1.0,
        unit="MB",
        runs=1,
    )


@pytest.mark.parametrize("machine", ["virt", "raspi3b"])
def bench_the_first_score(
    machine: MachineName, world: CardWorld, image: Path, tmp_path: Path, record_ratio: RecordRatio
) -> None:
    taken = [first_score(world, image, machine, tmp_path / f"{machine}-{number}") for number in range(BOOTS)]
    bound_s = REACH_BOOT_S[machine]
    for what, values in (
        ("first score", [each.score_s for each in taken]),
        ("first window stored by the server, enrolled before (stricter)", [each.stored_s for each in taken]),
    ):
        record_ratio(
            f"{machine}, emulated: from power on to {what} / {bound_s:g} s",
            ours=median(values),
            peer=bound_s,
            reach=1.0,
            unit="s",
            runs=BOOTS,
        )


def bench_the_agents_memory_in_the_guest(
    world: CardWorld, image: Path, tmp_path: Path, record_ratio: RecordRatio
) -> None:
    before = devices_of(world.witness)
    with started_board(image, "virt", tmp_path / "board") as (board, _):
        device = wait_for_a_new_device(world.witness, before, board)
        assert world.witness.windows(device)
        pss = agent_pss_bytes(board, SAMPLES, PAUSE_S)
    record_ratio(
        "arm64 guest: PSS of the agent, scoring a forest / AWS IoT Greengrass nucleus lite on a Pi 3, not scoring",
        ours=pss / _MB,
        peer=NUCLEUS_LITE_MB,
        reach=None,
        unit="MB",
        runs=SAMPLES,
    )


def _build_s(world: CardWorld, name: str, folder: Path) -> float:
    card = world.describe_card(name, device=f"{name}-*")
    clock = SystemClock()
    began_s = clock.monotonic_s()
    build_card(card, folder / f"{name}.img")
    return clock.monotonic_s() - began_s
