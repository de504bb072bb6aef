import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.pipeline.search.front import Budget, Contender, choose, fits, pareto_front

WIDE = Budget(1_000_000, None)


def contender(number, quality, size_bytes=1000, latency_us=10.0, blocks=()):
    return Contender(number, "forest", quality, blocks or (quality, quality), size_bytes, latency_us)


some = st.builds(
    contender,
    st.integers(0, 99),
    st.sampled_from([0.1, 0.5, 0.9]),
    st.sampled_from([10, 20, 30]),
    st.sampled_from([1.0, 2.0, 3.0]),
)


def beats(one, other):
    mine = (one.quality, -one.size_bytes, -one.latency_us)
    theirs = (other.quality, -other.size_bytes, -other.latency_us)
    return mine != theirs and all(a >= b for a, b in zip(mine, theirs, strict=True))


@given(st.lists(some, max_size=12))
def test_the_front_is_what_nobody_beats_each_kind_once(contenders):
    front = pareto_front(contenders)
    for one in contenders:
        is_beaten = any(beats(other, one) for other in contenders)
        alike = [
            f for f in front if (f.quality, f.size_bytes, f.latency_us) == (one.quality, one.size_bytes, one.latency_us)
        ]
        assert len(alike) == (0 if is_beaten else 1)
    assert [one.quality for one in front] == sorted((one.quality for one in front), reverse=True)


def test_what_has_no_form_for_devices_is_not_on_the_front_but_may_be_taken():
    unknown = contender(0, 0.9, None, None)
    assert pareto_front([unknown]) == ()
    assert choose([unknown, contender(1, 0.8)], WIDE, "best") == 0


@pytest.mark.parametrize(
    ("budget", "taken"),
    [(WIDE, 0), (Budget(5000, None), 1), (Budget(1_000_000, 20.0), 2), (Budget(1, None), 0)],
    ids=["all fit", "by size", "by latency", "none fits"],
)
def test_the_best_of_those_within_the_budgets_is_taken_and_of_all_where_none_is(budget, taken):
    contenders = [contender(0, 0.9, 9000, 90.0), contender(1, 0.85, 4000, 50.0), contender(2, 0.8, 9000, 20.0)]
    assert choose(contenders, budget, "best") == taken
    assert fits(contenders[taken], budget) == (budget.max_size_bytes > 1)


def test_of_equals_the_first_is_taken():
    assert choose([contender(0, 0.9), contender(1, 0.9)], WIDE, "best") == 0


def test_the_smaller_one_is_taken_within_one_standard_error_of_the_differences():
    best = contender(0, 0.85, 9000, blocks=(0.9, 0.8, 0.85))
    noisy = contender(1, 0.84, 3000, blocks=(0.87, 0.83, 0.82))
    worse = contender(2, 0.82, 1000, blocks=(0.87, 0.77, 0.82))
    # `worse` loses three points in every block: that is no chance, however much the blocks differ.
    assert choose([best, noisy, worse], WIDE, "smaller") == 1
    assert choose([best, noisy, worse], WIDE, "best") == 0


def test_of_one_block_only_the_best_is_taken():
    assert choose([contender(0, 0.9, 9000, blocks=(0.9,)), contender(1, 0.8, 10, blocks=(0.8,))], WIDE, "smaller") == 0
