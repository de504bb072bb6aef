"""The staging process: what the agent is told, however it ends."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from broker.messages import BundleRef
from edge_agent.bundle import MAX_MANIFEST_BYTES, Manifest, Variant
from edge_agent.clock import SystemClock
from edge_agent.errors import (
    BundleError,
    RepositoryRefusedError,
    RepositoryStaleError,
    RepositoryUnreachableError,
    StorageError,
)
from edge_agent.scoring.golden import GoldenResult, verify_golden
from edge_agent.scoring.runtime import Runtime
from edge_agent.update.slots import was_proving
from edge_agent.update.stage import report_of, stage, verify_room
from edge_agent.update.stage_messages import StageOrder, StageReport
from edge_agent.update.staging import StageProcess, report_from
from exporter.repository.repository import init_repository, publish_bundle
from exporter.repository.serving import start_repository_server
from tests.bundles import make_bundle
from tests.forging import list_file
from tests.integration.exporter.mirror import Mirror
from tests.waiting import wait_until

CLOCK = SystemClock()


@pytest.fixture
def order(tmp_path: Path) -> Iterator[StageOrder]:
    """An order that can be carried out."""
    root = init_repository(tmp_path / "repository", tmp_path / "keys", clock=CLOCK)
    publish_bundle(make_bundle(tmp_path / "v1"), tmp_path / "repository", tmp_path / "keys", clock=CLOCK)
    server = start_repository_server(tmp_path / "repository")
    yield StageOrder(
        bundle=BundleRef("toy", 1),
        url=server.url,
        root=str(root),
        metadata=str(tmp_path / "state" / "tuf"),
        slot=str(tmp_path / "state" / "slots" / "a"),
        prefer=(),
        timeout_s=5.0,
        spare_disk_bytes=0,
    )
    server.stop()


def list_manifest(folder: Path, keys: Path, bundle: BundleRef, data: bytes) -> None:
    """Sign and list what `publish_bundle` would never publish."""
    list_file(folder, keys, f"{bundle}/manifest.json", data, role="model-toy")


def result_of(order: StageOrder, timeout_s: float = 60.0) -> StageReport:
    """Carry an order out and return the report."""
    process = StageProcess(order, timeout_s, CLOCK)
    reports: list[StageReport] = []

    def has_ended() -> bool:
        report = process.poll()
        reports.extend([report] if report is not None else [])
        return bool(reports)

    wait_until(has_ended, 60, "the staging process has ended")
    return reports[0]


def test_a_good_bundle_is_proved(order: StageOrder):
    report = result_of(order)
    assert (report.outcome, report.variant) == ("proved", "onnx-fp32")
    assert "8 golden rows right" in report.reason
    assert sorted(path.name for path in Path(order.slot).iterdir()) == ["manifest.json", "model.onnx"]
    assert report.size_bytes == sum(path.stat().st_size for path in Path(order.slot).iterdir())


def test_what_is_fetched_may_be_rebuilt_from_what_lies_in_other_slots(order: StageOrder, tmp_path: Path):
    # The two manifests differ by a few numbers alone.
    publish_bundle(make_bundle(tmp_path / "v2", version=2), tmp_path / "repository", tmp_path / "keys", clock=CLOCK)
    with Mirror(tmp_path / "repository") as mirror:
        ordered = msgspec.structs.replace(
            order, url=mirror.url, bundle=BundleRef("toy", 2), bases=(str(tmp_path / "v1"), str(tmp_path / "nowhere"))
        )
        report = result_of(ordered)
    assert (report.outcome, report.fetched.partition(",")[0]) == ("proved", "whole"), report
    assert [path for path in mirror.requests if path.endswith("manifest.json.from-1.zst")]


def test_what_lay_in_the_slot_is_removed_first(order: StageOrder):
    slot = Path(order.slot)
    slot.mkdir(parents=True)
    for name in ("committed.json", "old.onnx"):
        (slot / name).write_bytes(b"old")
    assert result_of(order).outcome == "proved"
    assert sorted(path.name for path in slot.iterdir()) == ["manifest.json", "model.onnx"]


@pytest.mark.parametrize("error", [None, BundleError("golden row 3 differs")])
def test_that_a_bundle_runs_for_the_first_time_is_written_down_until_it_has(
    order: StageOrder, monkeypatch: pytest.MonkeyPatch, error: BundleError | None
):
    seen: list[bool] = []

    def verify(manifest: Manifest, variant: Variant, runtime: Runtime) -> GoldenResult:
        seen.append(was_proving(Path(order.slot)))
        if error is not None:
            raise error
        return verify_golden(manifest, variant, runtime)

    monkeypatch.setattr("edge_agent.update.stage.verify_golden", verify)
    with contextlib.nullcontext() if error is None else pytest.raises(BundleError, match="golden row 3"):
        stage(order)
    assert seen == [True]
    assert not was_proving(Path(order.slot))


@pytest.mark.parametrize(
    ("changes", "outcome", "reason"),
    [
        ({"bundle": BundleRef("toy", 2)}, "refused", "not listed"),
        ({"root": "/nowhere/root.json"}, "refused", "trusted root /nowhere/root.json: cannot be read"),
        ({"url": "http://127.0.0.1:1"}, "unreachable", "the update repository"),
        ({"spare_disk_bytes": 2**60}, "storage", "bytes of disk are free"),
        ({"slot": "/proc/nowhere"}, "storage", "this device's disk"),
    ],
)
def test_what_does_not_succeed_has_its_reason(order: StageOrder, changes: dict[str, object], outcome: str, reason: str):
    report = result_of(msgspec.structs.replace(order, **changes))
    assert (report.outcome, reason in report.reason) == (outcome, True), report


def test_a_runtime_that_is_not_installed_is_refused(order: StageOrder, tmp_path: Path):
    keys, repository = tmp_path / "keys", tmp_path / "repository"
    # No TFLite file lies behind this name: that is seen when the runtime opens it.
    publish_bundle(make_bundle(tmp_path / "v2", version=2, runtime="tflite"), repository, keys, clock=CLOCK)
    report = result_of(msgspec.structs.replace(order, bundle=BundleRef("toy", 2)))
    assert report.outcome == "refused"


def test_a_manifest_of_another_bundle_than_its_place_says_is_refused(order: StageOrder, tmp_path: Path):
    keys, folder = tmp_path / "keys", tmp_path / "repository"
    list_manifest(folder, keys, BundleRef("toy", 9), (tmp_path / "v1" / "manifest.json").read_bytes())
    report = result_of(msgspec.structs.replace(order, bundle=BundleRef("toy", 9)))
    assert report == StageReport("refused", "the manifest listed as toy/9 is of toy/1")


def test_a_manifest_that_is_too_large_is_refused_by_what_is_listed(order: StageOrder, tmp_path: Path):
    data = b" " * (MAX_MANIFEST_BYTES + 1)
    list_manifest(tmp_path / "repository", tmp_path / "keys", BundleRef("toy", 9), data)
    report = result_of(msgspec.structs.replace(order, bundle=BundleRef("toy", 9)))
    assert report.outcome == "refused"
    assert f"{MAX_MANIFEST_BYTES + 1} bytes are listed" in report.reason
    assert list(Path(order.slot).iterdir()) == []


def test_a_server_that_says_nothing_is_given_up(order: StageOrder):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        report = result_of(msgspec.structs.replace(order, url=url), timeout_s=3.0)
    assert report == StageReport("timed_out", "not fetched and proved within 3 s")


def test_a_bundle_that_is_not_listed_may_be_so_later(order: StageOrder):
    assert result_of(msgspec.structs.replace(order, bundle=BundleRef("toy", 2))).may_pass


@pytest.mark.parametrize(
    ("number", "outcome"),
    [
        (signal.SIGSEGV, "crashed"),
        (signal.SIGTERM, "broken_off"),
        (signal.SIGINT, "broken_off"),
        (signal.SIGHUP, "broken_off"),
        (signal.SIGKILL, "broken_off"),
    ],
)
def test_a_process_that_is_ended_from_outside_has_not_crashed(order: StageOrder, number: signal.Signals, outcome: str):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = StageProcess(msgspec.structs.replace(order, url=url), 60.0, CLOCK)
        assert process.poll() is None
        # Up and at work: an interpreter that is interrupted while it starts ends with a code of its own.
        silent.settimeout(30)
        connection, _ = silent.accept()
        os.kill(process.pid, number)
        reports: list[StageReport] = []

        def has_ended() -> bool:
            report = process.poll()
            reports.extend([report] if report is not None else [])
            return bool(reports)

        wait_until(has_ended, 10)
        connection.close()
    told = f"the process that proves the bundle was ended by {number.name}"
    assert reports == [StageReport(outcome, told)]  # type: ignore[arg-type]


def test_when_the_agent_is_gone_the_process_ends(order: StageOrder):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_order = msgspec.structs.replace(order, url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        child = subprocess.Popen([sys.executable, "-m", "edge_agent.update.stage"], stdin=subprocess.PIPE)
        assert child.stdin is not None
        child.stdin.write(msgspec.json.encode(silent_order) + b"\n")
        child.stdin.flush()
        silent.accept()
        child.stdin.close()
        assert child.wait(10) == 70


def test_a_second_process_waits_for_the_first(order: StageOrder):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        first = StageProcess(
            msgspec.structs.replace(order, url=f"http://127.0.0.1:{silent.getsockname()[1]}"), 60.0, CLOCK
        )
        silent.accept()
        second = StageProcess(order, 1.5, CLOCK)
        reports: list[StageReport] = []

        def has_ended() -> bool:
            report = second.poll()
            reports.extend([report] if report is not None else [])
            return bool(reports)

        wait_until(has_ended, 20)
        assert reports[0].outcome == "timed_out"
        first.cancel()
    assert result_of(order).outcome == "proved"


@pytest.mark.parametrize(
    ("answer", "code", "outcome", "reason"),
    [
        (msgspec.json.encode(StageReport("proved", "good")), 0, "proved", "good"),
        (msgspec.json.encode(StageReport("proved", "good")), -11, "crashed", "was ended by SIGSEGV"),
        (msgspec.json.encode(StageReport("proved", "good")), 1, "crashed", "ended with code 1"),
        (msgspec.json.encode(StageReport("refused", "bad")), 3, "refused", "bad"),
        (b"", 0, "crashed", "ended with code 0 and no report"),
        (b"", -6, "crashed", "was ended by SIGABRT"),
        *[(b"", -number, "crashed", "was ended by SIG") for number in (4, 7, 8)],
        (b"", -9, "broken_off", "was ended by SIGKILL"),
        (msgspec.json.encode(StageReport("proved", "good")), -15, "broken_off", "was ended by SIGTERM"),
        (b'{"outcome": "splendid", "reason": ""}', 0, "crashed", "no report"),
        (b"\xff" * 70_000, 1, "crashed", "ended with code 1"),
    ],
)
def test_a_report_counts_only_if_the_process_ended_well(answer: bytes, code: int, outcome: str, reason: str):
    report = report_from(answer, code)
    assert (report.outcome, reason in report.reason) == (outcome, True), report


def test_errors_are_sorted_by_what_can_be_done():
    assert report_of(RepositoryUnreachableError("x"))[0].outcome == "unreachable"
    assert report_of(RepositoryRefusedError("x"))[0] == StageReport("refused", "x")
    assert report_of(RepositoryStaleError("x"))[0] == StageReport("refused", "x", may_pass=True)
    assert report_of(BundleError("x")) == (StageReport("refused", "x"), 3)
    assert report_of(StorageError("x")) == (StageReport("storage", "x"), 74)
    assert report_of(OSError(28, "No space left on device"))[0].outcome == "storage"


def test_room_is_left_on_the_disk_while_a_download_lies_there_twice():
    variant = Variant("onnx-fp32", "onnx", "m.onnx", 100, "0" * 64, 0.0, 0.9, 1.0)
    verify_room(variant, 250, 50)
    with pytest.raises(StorageError, match=r"249 bytes .* fetching onnx-fp32 takes 200, .* 50 to spare"):
        verify_room(variant, 249, 50)
