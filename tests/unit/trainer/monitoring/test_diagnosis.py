import numpy as np
import pytest

from broker.topics import DeviceId
from tests.unit.trainer.simulated_fleet import LOSING, draw_window, make_manifest
from trainer.monitoring.confirmation import confirm
from trainer.monitoring.diagnosis import adjusted_psi, diagnose, measure_shift
from trainer.monitoring.quality import expectation_of
from trainer.project.fleet import MonitoringSection


def test_small_samples_of_the_same_distribution_show_no_shift():
    rng = np.random.default_rng(2)
    reference = tuple(rng.multinomial(2000, [0.1] * 10))
    shifts = [adjusted_psi(reference, tuple(rng.multinomial(100, [0.1] * 10))) for _ in range(300)]
    assert sum(shift > 0.2 for shift in shifts) == 0
    assert np.mean(shifts) < 0.05


def test_psi_of_a_real_shift_is_near_its_textbook_value():
    reference, observed = (5000, 5000), (2000, 8000)
    assert adjusted_psi(reference, observed) == pytest.approx(0.3 * np.log(8000 / 2000), abs=0.01)


@pytest.mark.parametrize(("reference", "observed"), [((0, 0), (1, 1)), ((1, 1), (0, 0)), ((5,), (3,))])
def test_psi_of_nothing_is_zero(reference, observed):
    assert adjusted_psi(reference, observed) == 0.0


def test_a_shift_no_greater_than_between_reference_blocks_is_not_called_a_change():
    blocks = ((900, 100), (100, 900))
    assert not measure_shift("season", blocks, (900, 100)).changed
    assert measure_shift("season", ((500, 500), (510, 490)), (900, 100)).changed


def test_the_changed_feature_and_device_are_named_with_the_reason():
    manifest, rng = make_manifest(), np.random.default_rng(3)
    windows = {
        DeviceId("calm"): [draw_window(rng, manifest, rows=200)],
        DeviceId("moved"): [draw_window(rng, manifest, rows=200, shares=LOSING, shift=2.5)],
    }
    confirmation = confirm([1.0] * 20 + [0.0] * 10, expectation_of(manifest), MonitoringSection())
    diagnosis = diagnose(windows, manifest, confirmation)
    assert diagnosis.features[0].name == "pressure"
    assert diagnosis.features[0].changed
    assert not diagnosis.features[1].changed
    assert [device.device for device in diagnosis.devices] == ["moved", "calm"]
    assert diagnosis.sentence.startswith("This is called a loss: 30 labels")
    assert "1 of 2 features changed, most of all pressure" in diagnosis.sentence
    assert "Changed devices: moved." in diagnosis.sentence
    assert diagnosis == diagnose(dict(reversed(windows.items())), manifest, confirmation)


def test_nothing_changed_is_said_too():
    manifest, rng = make_manifest(), np.random.default_rng(3)
    windows = {DeviceId("calm"): [draw_window(rng, manifest, rows=500)]}
    assert "No feature changed" in diagnose(windows, manifest).sentence


def test_a_fleet_without_windows_has_an_empty_diagnosis():
    diagnosis = diagnose({}, make_manifest())
    assert diagnosis.rows == 0
    assert diagnosis.estimate is None
    assert not any(shift.changed for shift in diagnosis.features)
