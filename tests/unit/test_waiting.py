import pytest

from tests.waiting import wait_until


def test_waiting_ends_as_soon_as_the_condition_holds() -> None:
    answers = iter([False, 0, None, "yes"])
    wait_until(lambda: next(answers), timeout_s=5)
    assert next(answers, "none left") == "none left"


def test_a_condition_that_never_holds_fails_with_what_was_waited_for() -> None:
    with pytest.raises(AssertionError, match=r"waited 0\.03 s in vain until pigs fly"):
        wait_until(lambda: False, timeout_s=0.03, what="pigs fly")


def test_what_is_only_known_in_the_end_is_asked_for_then() -> None:
    log = ["it starts"]
    with pytest.raises(AssertionError, match=r"in vain until it ends; it hangs$"):
        wait_until(lambda: log.append("it hangs"), timeout_s=0, what=lambda: f"it ends; {log[-1]}")


def test_the_condition_is_asked_even_when_there_is_no_time() -> None:
    wait_until(lambda: True, timeout_s=0)
