"""A finished card on QEMU's own machine: from its first start to a hundred lost rows, which there must not be."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.messages import Desired
from exporter.image.emulation.partitions import load_partitions
from exporter.image.image_file import SECTOR_BYTES
from tests.arm.system.board import DATA, Board
from tests.arm.system.power_cuts import BOOT_S, UPDATE_S, survive_power_cuts
from tests.arm.system.world import CardWorld
from tests.crash.findings import rows_that_do_not_fit
from tests.crash.witness import DEVICE
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
CUTS = 3


@pytest.fixture(scope="module")
def board(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """A board that was switched on; the tests follow its life."""
    board = Board(tmp_path_factory.mktemp("board") / "virt", image, "virt")
    board.start()
    yield board
    board.remove()


def test_a_card_enrols_and_scores_with_the_bundle_that_it_brought(world: CardWorld, board: Board):
    wait_until(lambda: world.witness.windows(DEVICE), BOOT_S, lambda: f"a window arrives; {board.account()}")
    wait_until(lambda: world.witness.events(DEVICE, "certificate"), UPDATE_S, "it says that it has a certificate")
    wait_until(lambda: world.witness.events(DEVICE, "committed"), UPDATE_S, "the bundle of the card is committed")
    status = world.witness.status(DEVICE)
    assert status is not None
    assert status.online
    assert {window.bundle for window in world.witness.windows(DEVICE)} == {world.bundles[0]}
    register = world.fleet.open_register()
    assert [identity.name for identity in register.view().active] == [DEVICE]
    register.close()


def test_data_has_grown_to_the_end_of_the_card_while_it_was_in_use(image: Path, board: Board):
    made = next(partition for partition in load_partitions(image) if partition.number == DATA)
    told = board.run(f"cat /sys/class/block/vda/size /sys/class/block/vda{DATA}/size; df -B512 --output=size /data")
    card, partition, file_system = (int(word) * SECTOR_BYTES for word in told.split() if word.isdecimal())
    # On the image it is as small as it can be, and less than 8 MiB may be left behind it.
    assert partition > made.size_bytes
    assert card - made.start_bytes - partition < 8 << 20
    # The rest is ext4's own.
    assert file_system > 0.9 * partition


def test_its_start_waits_for_data_as_long_as_the_card_takes(board: Board):
    unit = r"'dev-disk-by\x2dlabel-fieldloop\x2ddata.device'"
    device = board.run(f"systemctl show --property JobRunningTimeoutUSec {unit}")
    mount = board.run("systemctl show --property TimeoutUSec data.mount var-lib-fieldloop.mount etc-fieldloop.mount")
    assert device.split() == ["JobRunningTimeoutUSec=infinity"]
    assert mount.split() == ["TimeoutUSec=infinity"] * 3


def test_it_pulls_a_new_bundle_and_switches(world: CardWorld, board: Board):
    order = world.order(world.bundles[1])
    wait_until(lambda: has_told(world, order, "committed"), UPDATE_S, lambda: f"it is committed; {board.account()}")
    wait_until(lambda: world.witness.windows(DEVICE)[-1].bundle == world.bundles[1], UPDATE_S)


def test_it_rolls_back_from_a_bundle_that_fails_its_trial(world: CardWorld, board: Board):
    order = world.order(world.bundles[2])
    wait_until(lambda: has_told(world, order, "rolled_back"), UPDATE_S, lambda: f"it rolls back; {board.account()}")
    rows = world.witness.rows(DEVICE)
    wait_until(lambda: world.witness.rows(DEVICE) > rows + 40, UPDATE_S)
    assert world.witness.windows(DEVICE)[-1].bundle == world.bundles[1]
    assert rows_that_do_not_fit(world.witness) == []


def test_it_comes_back_from_every_power_cut_and_loses_nothing(world: CardWorld, board: Board):
    ordeal = survive_power_cuts(world, board, CUTS, random.Random(1))
    assert ordeal.findings == []
    assert ordeal.cuts == CUTS


def has_told(world: CardWorld, order: Desired, kind: str) -> bool:
    return any(event.order_id == order.order_id for event in world.witness.events(DEVICE, kind))
