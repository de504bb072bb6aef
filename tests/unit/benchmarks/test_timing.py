import gc

import pytest

from benchmarks.timing import alternate


def test_both_sides_are_called_equally_often_and_by_turns() -> None:
    calls: list[str] = []
    pair = alternate(lambda: calls.append("ours"), lambda: calls.append("peer"), rounds=4, calls_per_round=2, warm_up=2)
    assert pair.runs == 4
    assert calls.count("ours") == calls.count("peer") == (4 + 2) * 2
    assert len({tuple(calls[i : i + 4]) for i in range(0, len(calls), 4)}) == 2, "who goes first changes"


def test_the_garbage_collector_works_again_even_when_a_call_fails() -> None:
    with pytest.raises(ZeroDivisionError):
        alternate(lambda: 1 / 0, lambda: None, rounds=1)
    assert gc.isenabled()
