"""How large a card is."""

import pytest

from exporter.image.emulation.overlay import card_bytes


@pytest.mark.parametrize(
    ("image_bytes", "size"), [(1, 2), (512, 512), (513, 1024), (1 << 30, 1 << 30), ((1 << 30) + 1, 1 << 31)]
)
def test_a_card_is_the_next_power_of_two(image_bytes: int, size: int):
    assert card_bytes(image_bytes) == size
