"""An agent that is killed at random, again and again, counts every row once and carries its last order out."""

import json
from pathlib import Path

import pytest

from edge_agent.clock import Clock
from tests.crash.campaign import kill_agents
from tests.crash.nursery import Nursery
from tests.crash.world import World

KILLS = 40


@pytest.mark.slow
def test_killed_at_random_a_device_loses_nothing(world: World, nursery: Nursery, place: Path, clock: Clock):
    folder = place / "kills"
    folder.mkdir()
    ordeal = kill_agents(world, nursery, folder, clock, KILLS, seed=1)
    assert not ordeal.findings, json.dumps(ordeal.as_json(), indent=2)
