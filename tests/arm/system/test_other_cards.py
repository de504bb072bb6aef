"""Cards of other runtimes, suites and 32 bits: each is built whole, started, and scores in the runtime that it brings.

Each takes a Debian or a root of its own, minutes where nobody made it before: so they run where all are asked for.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from exporter.image.build.boards import Architecture, Suite
from tests.arm.system.board import Board
from tests.arm.system.cards import build_card
from tests.arm.system.power_cuts import BOOT_S
from tests.arm.system.world import CardWorld
from tests.waiting import wait_until

ALL: Final = "FIELDLOOP_ALL_CARDS"
# A Debian package of the agent for armhf that was made on a machine with the Python of Debian 13.
PACKAGE_OF_13: Final = "FIELDLOOP_ARMHF_PACKAGE_OF_13"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(ALL not in os.environ, reason=f"takes minutes for each: make test-arm runs them, or {ALL}=1"),
]


@dataclass(frozen=True)
class Kind:
    """One kind of card, and the variants that are in the bundle on it: those of its runtime alone."""

    architecture: Architecture
    suite: Suite
    runtime: str | None = None
    variants: tuple[str, ...] = ("native",)
    bound_bytes: int = 150_000_000

    def __str__(self) -> str:
        return "-".join(filter(None, (self.architecture, self.suite, self.runtime)))


KINDS: Final = (
    Kind("arm64", "bookworm", "onnxruntime", ("onnx-fp32",), 200_000_000),
    Kind("arm64", "trixie"),
    Kind("armhf", "bookworm"),
    Kind("armhf", "trixie"),
)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_it_fits_starts_and_scores_in_the_runtime_that_it_brings(kind: Kind, world: CardWorld, tmp_path: Path):
    bundle = world.bundles[0] if kind.runtime is None else world.publish_forest(KINDS.index(kind) + 10, kind.variants)
    card = world.describe_card(str(kind), device=f"{kind}-*", bundle=bundle)
    image = build_card(
        card,
        tmp_path / "card.img",
        runtime=kind.runtime,
        is_packed=True,
        architecture=kind.architecture,
        suite=kind.suite,
        more=[*os.environ.get("FIELDLOOP_IMAGE_OPTIONS", "").split(), *package_of(kind)],
    )
    assert image.with_name("card.img.zst").stat().st_size <= kind.bound_bytes
    board = Board(tmp_path / "virt", image, "virt")
    board.start()
    try:
        wait_until(lambda: world.scoring(f"{kind}-"), BOOT_S, lambda: f"a window arrives; {board.account()}")
        (device,) = world.scoring(f"{kind}-")
        windows = world.witness.windows(device)
        assert {window.bundle for window in windows} == {bundle}
        assert {window.variant for window in windows} == set(kind.variants)
        assert world.witness.rows(device) > 0
        uname = {"arm64": "aarch64", "armhf": "armv7l"}[kind.architecture]
        told = board.run("uname -m; cat /etc/os-release").split()
        assert {uname, f"VERSION_CODENAME={kind.suite}"} <= set(told)
    finally:
        board.remove()


def package_of(kind: Kind) -> list[str]:
    """Return the option that names another package than the one that is made here."""
    if (kind.architecture, kind.suite) != ("armhf", "trixie"):
        return []
    if PACKAGE_OF_13 not in os.environ:
        pytest.skip(f"it takes one made by make deb ARGS=armhf PYTHON=python3.13, named in {PACKAGE_OF_13}")
    return ["--agent-package", os.environ[PACKAGE_OF_13]]
