"""Whatever is pushed when and how often: a run sees each labelled row once, in order, and only what was known then."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.trainer.features.small_project import write_project
from trainer.features.store import LabelledRow, extract, push_labelled
from trainer.project.project import LoadedProject

OWN_ROWS = 3
moments = st.integers(0, 20).map(float)


@st.composite
def labelled_rows(draw: st.DrawFn) -> LabelledRow:
    """A row of one of few predictions, so that many are pushed again, with another truth and other times."""
    number = draw(st.integers(0, 9))
    return LabelledRow(
        prediction_id=f"one.{number}",
        device="one",
        bundle="quality/1",
        features={"pressure": float(number), "vibration": draw(moments)},
        label=draw(st.sampled_from(["good", "scrap"])),
        scored_utc_s=draw(moments),
        # Clocks may disagree: a truth may claim to be older than the scoring.
        known_utc_s=draw(moments),
        reason=draw(st.sampled_from(["background", "asked", "uncertain"])),
    )


pushes = st.lists(st.lists(labelled_rows(), max_size=6), max_size=4)
gentle = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@contextmanager
def a_project() -> Iterator[LoadedProject]:
    with tempfile.TemporaryDirectory() as name:
        yield write_project(Path(name))


def kept_of(pushed: list[list[LabelledRow]]) -> list[LabelledRow]:
    """What a store keeps: the first row of each prediction; in the order of scoring, then of the names."""
    kept: dict[str, LabelledRow] = {}
    for rows in pushed:
        for row in rows:
            kept.setdefault(row.prediction_id, row)
    return sorted(kept.values(), key=lambda row: (row.scored_utc_s, row.prediction_id))


def seen(loaded: LoadedProject, as_of: float) -> list[tuple[tuple[float, ...], str, bool]]:
    """The fleet's rows of a run: features, label, and whether the model chose it."""
    table = extract(loaded, as_of)
    assert not table.is_fleet[:OWN_ROWS].any()
    assert table.is_fleet[OWN_ROWS:].all()
    content = zip(table.rows, table.truth, table.is_chosen, strict=True)
    found = [(tuple(map(float, row)), table.labels[int(truth)], bool(chosen)) for row, truth, chosen in content]
    return found[OWN_ROWS:]


def shown(rows: list[LabelledRow]) -> list[tuple[tuple[float | str | None, ...], str | float, bool]]:
    return [(tuple(row.features.values()), row.label, row.reason == "uncertain") for row in rows]


@gentle
@given(pushes, moments)
def test_a_run_sees_each_row_once_in_order_and_none_scored_or_labelled_after_its_moment(
    pushed: list[list[LabelledRow]], as_of: float
) -> None:
    with a_project() as loaded:
        for rows in pushed:
            push_labelled(loaded, rows)
        known = [row for row in kept_of(pushed) if max(row.scored_utc_s, row.known_utc_s) <= as_of]
        assert seen(loaded, as_of) == shown(known)


@gentle
@given(pushes, st.randoms(use_true_random=False))
def test_pushing_again_in_whatever_parts_adds_nothing(pushed: list[list[LabelledRow]], chance) -> None:
    with a_project() as loaded:
        new = sum(push_labelled(loaded, rows) for rows in pushed)
        assert new == len(kept_of(pushed))
        before = extract(loaded, 100.0).fingerprint
        again = [row for rows in pushed for row in rows]
        chance.shuffle(again)
        cut = chance.randint(0, len(again))
        assert push_labelled(loaded, again[:cut]) == push_labelled(loaded, again[cut:]) == 0
        assert extract(loaded, 100.0).fingerprint == before


@gentle
@given(pushes, moments, moments)
def test_a_later_run_sees_all_that_an_earlier_one_saw(
    pushed: list[list[LabelledRow]], one: float, other: float
) -> None:
    with a_project() as loaded:
        for rows in pushed:
            push_labelled(loaded, rows)
        earlier, later = seen(loaded, min(one, other)), seen(loaded, max(one, other))
        left = iter(later)
        assert all(row in left for row in earlier)


@gentle
@given(st.lists(st.lists(labelled_rows(), max_size=6), min_size=1, max_size=4), st.data())
def test_what_is_pushed_later_with_later_truths_does_not_change_an_earlier_run(
    pushed: list[list[LabelledRow]], data: st.DataObject
) -> None:
    with a_project() as loaded:
        for rows in pushed[:-1]:
            push_labelled(loaded, rows)
        as_of = data.draw(moments)
        before = extract(loaded, as_of).fingerprint
        push_labelled(loaded, [row for row in pushed[-1] if row.known_utc_s > as_of])
        assert extract(loaded, as_of).fingerprint == before
