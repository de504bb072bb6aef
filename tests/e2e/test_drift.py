"""A loss that its publisher documents is noticed, confirmed and mended in time.

Whether it is in time is a matter of the machine: `make test` runs nothing else meanwhile.
"""

import pytest

from tests.e2e.conftest import played, running_children, summary_of, verify_books

ROWS = 12_159


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("mosquitto")
def test_with_mosquitto_the_loop_mends_the_documented_drift(tmp_path):
    folder, summary = mended_play(tmp_path, "--broker", "mosquitto")
    assert summary["broker"] == "mosquitto"
    assert summary["restarts"] == 0
    # Five points are the benchmark's to hold: on a busy machine the new model comes later, and so for fewer rows.
    assert summary["loop_accuracy"] > summary["static_accuracy"]
    # Signs before it may have been cleared or refused, and after it the rows may lose again.
    told = kinds_of(summary)
    end = told.index("rolled_out")
    assert told[end - 4 : end + 1] == ["sign", "confirmed", "gathered", "promoted", "rolled_out"]
    bundle = next(text.split()[0] for _, kind, text in summary["story"] if kind == "rolled_out")
    assert bundle != "rainfall/1"
    first, *others = sorted(update["committed_utc_s"] for update in summary["updates"] if update["bundle"] == bundle)
    assert len(others) == 4
    assert all(first < other for other in others), "one device first, then all"
    for file in ("accuracy.png", "accuracy.html"):
        assert (folder / file).stat().st_size > 10_000
    assert not running_children(folder)


def mended_play(tmp_path, *arguments):
    """Play the demo until a loss is mended in time, three times at most; return the folder and the summary.

    Chance has a word in each play: devices choose the rows that get labels, thirty of them may clear a loss, and the
    gate judges by three hundred, where a constant answer is right for two thirds. Late ones get no second try.
    """
    stories = []
    for seed in (1, 3, 5):
        folder = tmp_path / f"demo-{seed}"
        with played("--folder", str(folder), "--seed", str(seed), *arguments, cwd=tmp_path) as process:
            summary = summary_of(process, folder)
        verify_books(summary, ROWS)
        if "rolled_out" in kinds_of(summary) and summary["compared_rows"] >= 500:
            return folder, summary
        stories.append(summary["story"])
    raise AssertionError(f"no play was mended in time: {stories}")


def kinds_of(summary):
    """Return what happened, in order, but for the steps of rollouts and what people are told beside.

    How bad thirty labels make a loss look is a matter of which rows they are: of a collapse people are told, and it is
    mended all the same.
    """
    return [kind for _, kind, _ in summary["story"] if kind not in {"alert", "rollout", "rolling_out"}]
