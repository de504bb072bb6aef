"""A disk that runs full at any write of an update costs no record, no row and no device."""

import json
from pathlib import Path

import pytest

from edge_agent.clock import Clock
from tests.crash.campaign import fill_disks
from tests.crash.full_disk import FullDisks
from tests.crash.nursery import Nursery
from tests.crash.recording import Recording
from tests.crash.shim import Shim
from tests.crash.world import World

DISKS = 24


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_update_goes_through_although_the_disk_runs_full_at_any_write(
    world: World, recording: Recording, nursery: Nursery, shim: Shim, place: Path, clock: Clock
):
    folder = place / "full"
    folder.mkdir()
    ordeal = fill_disks(FullDisks(world, recording, nursery, shim, folder, clock), DISKS)
    assert not ordeal.findings, json.dumps(ordeal.as_json(), indent=2)
    assert ordeal.devices == DISKS + 1
    # One update takes room on the disk at least as often as it has files, records and windows.
    assert ordeal.size > 50
