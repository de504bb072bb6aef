"""Demos that are killed, interrupted, kept and refused: nothing is lost, and nothing goes on."""

import json
import os
import random
import signal
from functools import partial

import pytest

from tests.e2e.conftest import played, running_children, summary_of, verify_books
from tests.waiting import wait_until

ROWS = 12_159


def pid_in(live):
    """Return the process that an agent's live.json names."""
    return json.loads(live.read_text())["pid"]


def has_new_process(live, old_pid, demo):
    """Tell whether another process writes an agent's live.json, or the demo has ended."""
    return pid_in(live) != old_pid or demo.poll() is not None


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_with_the_embedded_broker_and_agents_killed_at_any_moment_nothing_is_lost(tmp_path):
    folder = tmp_path / "demo"
    rng = random.Random(11)
    with played("--folder", str(folder), "--seed", "2", "--broker", "amqtt", cwd=tmp_path) as process:
        lives = folder / "devices"
        wait_until(lambda: len(list(lives.glob("*/state/live.json"))) == 5, 300, "five agents at work")
        killed = 0
        # Three times each at most: a bundle whose trial sees a fourth start is rolled back, as it should be.
        for number in [number for _ in range(3) for number in rng.sample(range(1, 6), 5)][:12]:
            if process.poll() is not None:
                break
            live = lives / f"device-{number}" / "state" / "live.json"
            pid = pid_in(live)
            os.kill(pid, signal.SIGKILL)
            killed += 1
            wait_until(partial(has_new_process, live, pid, process), 60, "the agent at work again")
        summary = summary_of(process, folder)
    verify_books(summary, ROWS)
    assert summary["broker"] == "amqtt"
    assert summary["restarts"] >= killed - 1
    assert not running_children(folder)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_digits_show_no_loss_beyond_the_honest_reference(tmp_path):
    folder = tmp_path / "demo"
    with played("--folder", str(folder), "--data", "digits", cwd=tmp_path) as process:
        summary = summary_of(process, folder)
    verify_books(summary, sum(device["rows_scored"] for device in summary["devices"]))
    assert len(summary["devices"]) == 5
    assert "promoted" not in [kind for _, kind, _ in summary["story"]], "no loss may be invented"
    status = json.loads((folder / "devices" / "device-1" / "state" / "live.json").read_text())
    assert status["rows_scored"] > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ctrl_c_ends_every_process_and_leaves_a_readable_folder(tmp_path):
    folder = tmp_path / "demo"
    with played("--folder", str(folder), "--data", "digits", "--devices", "2", cwd=tmp_path) as process:
        wait_until(lambda: len(list(folder.glob("devices/*/predictions.jsonl"))) == 2, 300, "two devices that score")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert not running_children(folder)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["records_sent"] == summary["records_stored"]
    assert summary["rows_dropped"] == 0
    assert "Traceback" not in output


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ctrl_c_while_the_devices_are_being_started_ends_in_a_summary_too(tmp_path):
    folder = tmp_path / "demo"
    with played("--folder", str(folder), "--data", "digits", "--devices", "2", cwd=tmp_path) as process:
        wait_until((folder / "devices" / "device-2" / "agent.toml").exists, 300, "the devices' folders")
        process.send_signal(signal.SIGINT)
        summary = summary_of(process, folder)
    assert summary["records_sent"] == summary["records_stored"]
    assert summary["rows_dropped"] == 0
    assert not running_children(folder)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_devices_that_are_kept_score_on_after_the_last_row_until_ctrl_c(tmp_path):
    folder = tmp_path / "demo"
    arguments = ("--data", "digits", "--devices", "2", "--rows-per-second", "80", "--keep")
    with played("--folder", str(folder), *arguments, cwd=tmp_path) as process:
        live = folder / "devices" / "device-2" / "state" / "live.json"
        # The second device begins at row 516 of 1,797.
        wait_until(lambda: live.exists() and json.loads(live.read_text())["rows_scored"] > 1_400, 300, "a second pass")
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        summary = summary_of(process, folder)
    assert summary["records_sent"] == summary["records_stored"]
    assert summary["rows_dropped"] == 0
    assert summary["rows_scored"] > 2 * 1_281
    assert not running_children(folder)


def test_a_folder_with_something_else_is_refused_without_a_traceback(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with played("--folder", str(tmp_path), cwd=tmp_path) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "not empty" in output
    assert "Traceback" not in output
