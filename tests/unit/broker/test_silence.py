"""When a link is tested, and when it is over."""

import pytest

from broker.errors import LinkError
from broker.silence import ANSWER_S, Silence


def test_a_link_that_is_not_up_has_a_minute_for_the_brokers_answer():
    silence = Silence(10, 100.0)
    assert silence.left_s(100.0, is_up=False) == ANSWER_S
    assert not silence.wants_ping(100.0 + ANSWER_S - 1, is_up=False)
    with pytest.raises(LinkError, match="does not answer"):
        silence.wants_ping(100.0 + ANSWER_S, is_up=False)


def test_a_link_is_tested_once_one_side_was_silent_and_is_over_if_nothing_comes():
    silence = Silence(10, 0.0)
    silence.said_at(9.0)
    assert silence.wants_ping(10.0, is_up=True), "nothing was heard for ten seconds"
    assert silence.left_s(10.0, is_up=True) == 10.0
    silence.heard_at(11.0)
    assert not silence.wants_ping(19.0, is_up=True)
    assert silence.wants_ping(20.0, is_up=True), "nothing was said for ten seconds"
    with pytest.raises(LinkError):
        silence.wants_ping(30.0, is_up=True)


def test_without_a_keepalive_a_link_that_is_up_is_never_tested():
    assert not Silence(0, 0.0).wants_ping(1e9, is_up=True)
