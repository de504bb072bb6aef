"""The table of update states."""

import itertools

import pytest

from edge_agent.update.states import TABLE, Happening, ImpossibleHappeningError, State, next_state


@pytest.mark.parametrize(("state", "happening"), list(itertools.product(State, Happening)))
def test_a_pair_that_is_not_in_the_table_raises(state: State, happening: Happening):
    if (state, happening) in TABLE:
        assert next_state(state, happening) is TABLE[state, happening]
    else:
        with pytest.raises(ImpossibleHappeningError, match=state.value):
            next_state(state, happening)


def test_every_state_can_be_restarted_and_none_is_a_dead_end():
    for state in State:
        assert (state, Happening.RESTARTED) in TABLE
    reachable = {State.IDLE}
    while len(grown := reachable | {after for (before, _), after in TABLE.items() if before in reachable}) > len(
        reachable
    ):
        reachable = grown
    assert reachable == set(State)
    for start in State:
        found = {start}
        while len(grown := found | {after for (before, _), after in TABLE.items() if before in found}) > len(found):
            found = grown
        assert State.IDLE in found


def test_only_a_trial_leads_to_a_commit():
    assert [state for (state, happening) in TABLE if happening is Happening.HEALTHY] == [State.TRIAL]
    assert [state for (state, after) in TABLE.items() if after is State.TRIAL] == [
        (State.STAGED, Happening.ACTIVATED),
        (State.TRIAL, Happening.RESTARTED),
    ]
