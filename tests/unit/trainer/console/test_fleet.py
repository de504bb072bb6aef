import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from broker.messages import BundleRef
from broker.topics import Channel, DeviceId
from edge_agent.bundle import Manifest
from tests.unit.trainer.simulated_fleet import LOSING, ManualClock, SimulatedDevice, make_manifest, window_of
from trainer.console.fleet import DeviceLine, fleet_table, read_fleet
from trainer.monitoring.intake import Intake
from trainer.monitoring.store import Store, open_store, store_uri

MANIFEST = make_manifest()
LINE = DeviceLine(DeviceId("press-1"), True, "weather/1", "onnx-fp32", "idle", 12_000, 3, 240, 0.7654, None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(store_uri(tmp_path / "fleet.db"))
    yield store
    store.close()


@pytest.fixture
def intake(store: Store) -> Intake:
    return Intake(store, ManualClock())


def manifest_of(bundle: BundleRef) -> Manifest | None:
    return {MANIFEST.version: MANIFEST}.get(bundle.version)


def shown(*lines: DeviceLine, title: str = "") -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(fleet_table(lines, title))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_a_store_without_devices_has_no_lines(store: Store) -> None:
    assert read_fleet(store, manifest_of) == ()


def test_a_device_that_has_only_said_hello_has_no_bundle_and_no_estimate(store: Store, intake: Intake) -> None:
    intake.take([SimulatedDevice("a").status(None, update_state="")])
    (line,) = read_fleet(store, manifest_of)
    assert (line.device, line.online, line.bundle, line.update_state) == ("a", True, "—", "—")
    assert (line.rows, line.refused, line.samples, line.estimated, line.usual) == (0, 0, 0, None, None)


def test_each_device_is_one_line_with_what_it_sent(store: Store, intake: Intake) -> None:
    a, b = SimulatedDevice("a"), SimulatedDevice("b")
    refusing = window_of(MANIFEST, b.rng, agreement=(0,) * 10 + (5,) * 10, rows=50, refused=4)
    intake.take([b.status(MANIFEST.ref, online=False), b.record(Channel.TELEMETRY, refusing), a.status(MANIFEST.ref)])
    intake.take([*a.score(MANIFEST, at_utc_s=1.0), *a.score(MANIFEST, at_utc_s=2.0)])
    first, second = read_fleet(store, manifest_of)
    assert (first.device, first.online, first.bundle, first.rows, first.samples) == ("a", True, "weather/1", 100, 4)
    assert (second.device, second.online, second.rows, second.refused) == ("b", False, 50, 4)
    assert first.variant == "onnx-fp32"


def test_the_estimate_is_that_of_the_latest_windows(store: Store, intake: Intake) -> None:
    device = SimulatedDevice("a")
    intake.take([device.status(MANIFEST.ref), *(d for _ in range(3) for d in device.score(MANIFEST, at_utc_s=1.0))])
    (usual,) = read_fleet(store, manifest_of)
    intake.take([d for _ in range(3) for d in device.score(MANIFEST, at_utc_s=2.0, shares=LOSING)])
    (losing,) = read_fleet(store, manifest_of)
    assert usual.estimated is not None
    assert losing.estimated is not None
    assert losing.estimated < usual.estimated - 0.1
    assert losing.usual == usual.usual == pytest.approx(MANIFEST.estimation.expected_quality, abs=0.01)


def test_a_bundle_whose_manifest_is_not_found_has_no_estimate(store: Store, intake: Intake) -> None:
    device = SimulatedDevice("a")
    other = BundleRef("weather", 9)
    intake.take([device.status(other), *device.score(replaced(other), at_utc_s=1.0)])
    (line,) = read_fleet(store, manifest_of)
    assert (line.bundle, line.rows, line.estimated) == ("weather/9", 50, None)


def replaced(bundle: BundleRef) -> Manifest:
    return make_manifest(version=bundle.version)


def test_the_table_shows_numbers_as_people_read_them_and_a_dash_for_what_is_not_known() -> None:
    text = shown(LINE)
    assert text.split("\n")[1].split() == [
        "press-1",
        "online",
        "weather/1",
        "onnx-fp32",
        "idle",
        "12,000",
        "3",
        "240",
        "0.765",
        "—",
    ]


@pytest.mark.parametrize("odd", ["[/]", "[red]x", "[/bold]"])
def test_what_a_device_says_is_shown_as_it_is(odd: str) -> None:
    assert shown(replace(LINE, bundle=f"b{odd}", variant=f"v{odd}", update_state=f"u{odd}")).count(odd) == 3


def test_a_device_that_is_gone_is_shown_as_offline() -> None:
    assert "offline" in shown(replace(LINE, online=False))


def test_the_table_has_a_title_only_when_it_is_given_one() -> None:
    assert shown(LINE, title="The fleet").startswith("The fleet")
    assert shown(LINE).startswith("device")
