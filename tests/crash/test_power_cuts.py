"""A device comes back from a power cut at any operation on its disk: scoring, with nothing lost and nothing twice."""

import json
from pathlib import Path

import pytest

from edge_agent.clock import Clock
from tests.crash.campaign import cut_power, plan_cuts, sorts_of
from tests.crash.disk import Disk, Folder, Loss, SymbolicLink
from tests.crash.nursery import Nursery
from tests.crash.oplog import Kind
from tests.crash.recording import Recording
from tests.crash.world import World

CUTS = 300


def test_the_log_holds_all_that_the_agent_and_its_children_did_to_the_disk(recording: Recording):
    disk = Disk(recording.disk, is_empty=True)
    for operation in recording.operations:
        disk.apply(operation)
    image = disk.image()
    assert {str(path.relative_to(recording.disk)) for path in recording.disk.rglob("*")} == set(image)
    for name, content in image.items():
        path = recording.disk / name
        if isinstance(content, Folder):
            assert path.is_dir(), name
        elif isinstance(content, SymbolicLink):
            assert str(path.readlink()) == content.text, name
        else:
            assert path.read_bytes() == content, name


def test_a_whole_update_a_rollback_and_the_spool_are_cut(recording: Recording):
    sorts = sorts_of(recording.operations, recording.disk)
    cut = {plan.sort for plan in plan_cuts(sorts, CUTS, seed=1)}
    assert cut == set(sorts) - {None}
    for state in ("fetching", "staged", "trial", "idle", "rolling_back"):
        assert f"rename state/update.json ({state})" in cut
    for state in ("fetching", "trial", "idle"):
        assert {f"write state/spool.db-wal ({state})", f"sync state/spool.db-wal ({state})"} <= cut
    # A checkpoint, at the latest when the agent stops.
    assert "write state/spool.db (idle)" in cut


def test_cuts_come_at_every_sort_of_operation_before_any_comes_again():
    cuts = plan_cuts(["a", "b", None, "b", "b"], 12, seed=1)
    assert sorted(cut.sort for cut in cuts) == ["a"] * 6 + ["b"] * 6
    assert {cut.loss for cut in cuts if cut.sort == "a"} == set(Loss)
    assert len(set(plan_cuts(["a", None, "b"], 30, seed=1))) == 30


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_device_comes_back_from_every_cut(
    world: World, recording: Recording, nursery: Nursery, place: Path, clock: Clock
):
    folder = place / "cuts"
    folder.mkdir()
    report = cut_power(world, recording, nursery, folder, clock, cuts=CUTS, seed=1, whole_every=60)
    told = json.dumps(report.as_json(), indent=2)
    assert not report.findings, told
    assert sum(report.cuts.values()) == CUTS
    assert len(report.cuts) == report.sorts
    assert {operation.kind for operation in recording.operations} >= {Kind.WRITE, Kind.SYNC, Kind.RENAME}
