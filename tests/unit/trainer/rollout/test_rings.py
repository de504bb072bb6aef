import pytest

from broker.topics import DeviceId
from trainer.rollout.rings import assign_rings, place_of, ring_of

FLEET = [DeviceId(f"station-{n}") for n in range(1000)]


def test_a_place_is_stable_and_in_range():
    assert place_of(DeviceId("station-1")) == place_of(DeviceId("station-1"))
    # Written down: changing the hash would send every device to another ring.
    assert place_of(DeviceId("station-1")) == pytest.approx(0.26234194555733215, abs=1e-15)
    assert all(0 <= place_of(device) < 1 for device in FLEET)


def test_rings_hold_about_their_shares_and_every_device_once():
    rings = assign_rings(FLEET, (0.1, 0.5, 1.0))
    assert [len(ring) for ring in rings] == pytest.approx([100, 400, 500], abs=45)
    assert sorted(device for ring in rings for device in ring) == sorted(FLEET)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_at_least_one_device_is_in_the_first_ring(n):
    for start in range(50):
        rings = assign_rings(FLEET[start : start + n], (0.001, 1.0))
        assert len(rings[0]) >= 1


def test_a_newcomer_does_not_move_others_to_a_later_ring():
    before = assign_rings(FLEET[:100], (0.1, 1.0))
    after = assign_rings(FLEET[:101], (0.1, 1.0))
    assert set(before[1]) <= set(after[1])


@pytest.mark.parametrize(("place", "ring"), [(0.0, 0), (0.0999, 0), (0.1, 1), (0.99999, 1)])
def test_a_place_belongs_to_the_first_ring_that_reaches_it(place, ring):
    assert ring_of(place, (0.1, 1.0)) == ring


def test_an_empty_fleet_has_empty_rings():
    assert assign_rings([], (0.1, 1.0)) == ((), ())
