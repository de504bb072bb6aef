import pytest

from trainer.continuous.endings import read_ending
from trainer.continuous.runner import RunOutcome
from trainer.continuous.story import TABLE, Happening, State, Story


@pytest.mark.parametrize(
    ("kind", "trigger", "happening", "alert", "words"),
    [
        ("promoted", "deterioration", Happening.PROMOTED, "", "Version 2 passed the gate: why"),
        ("promoted", "schedule", Happening.PROMOTED, "", "Version 2 passed the gate: why"),
        ("waits", "deterioration", Happening.WAITS, "approval_wanted", "version 2 waits for approval: why"),
        ("waits", "labels", Happening.WAITS, "approval_wanted", "A new model was due, and version 2 waits"),
        ("refused", "deterioration", Happening.REFUSED, "gate_refused", "A loss is confirmed, and the gate refused"),
        ("refused", "labels", Happening.REFUSED, "", "A new model was due, and the gate refused"),
        ("broke_off", "deterioration", Happening.BROKE_OFF, "run_failed", "broke off: why"),
        ("broke_off", "labels", Happening.BROKE_OFF, "run_failed", "broke off: why"),
    ],
)
def test_the_end_of_a_run_says_what_follows_and_whether_people_must_hear_of_it(kind, trigger, happening, alert, words):
    ended = read_ending(Story(trigger=trigger, reason="The sign."), RunOutcome(kind, "why", version=2))
    assert (ended.happening, ended.alert) == (happening, alert)
    assert words in ended.text
    assert (State.RUNNING, happening) in TABLE
