"""One fleet's server, and cards for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.arm.system.cards import build_card
from tests.arm.system.world import CardWorld, open_card_world
from tests.fleet_server import why_not


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CardWorld]:
    """A fleet's server on this machine."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with open_card_world(tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture(scope="module")
def image(world: CardWorld) -> Path:
    """A card for the one device that the world's witness knows, with a bundle on it."""
    return build_card(world.describe_card("card"), world.folder / "card.img", fleet=world.fleet.path)
