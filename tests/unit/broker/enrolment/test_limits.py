import pytest

from broker.enrolment.limits import Budget, Limits, key_of


def test_an_address_that_is_wrong_too_often_is_not_let_in_until_time_has_passed():
    limits = Limits(failures=Budget(3, 1))
    for _ in range(3):
        assert limits.may_ask("10.0.0.1", 0.0)
        assert limits.was_wrong("10.0.0.1", 0.0)
    assert not limits.may_ask("10.0.0.1", 0.0)
    assert limits.may_ask("10.0.0.2", 0.0)
    assert not limits.may_ask("10.0.0.1", 59.0)
    assert limits.may_ask("10.0.0.1", 60.0)


def test_an_address_may_ask_so_often_and_no_oftener():
    limits = Limits(requests=Budget(10, 60))
    assert [limits.may_ask("10.0.0.1", 0.0) for _ in range(11)] == [True] * 10 + [False]
    assert limits.may_ask("10.0.0.1", 1.0)


def test_many_addresses_that_guess_at_once_are_noticed():
    limits = Limits(all_failures=Budget(5, 1))
    assert [limits.was_wrong(f"10.0.0.{n}", 0.0) for n in range(6)] == [True] * 5 + [False]


def test_the_table_of_addresses_is_bounded_and_forgets_the_oldest():
    limits = Limits(failures=Budget(1, 0), max_addresses=2)
    for address in ("10.0.0.1", "10.0.0.2", "10.0.0.3"):
        limits.was_wrong(address, 0.0)
    assert [limits.may_ask(f"10.0.0.{n}", 0.0) for n in (1, 2, 3)] == [True, False, False]


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_one_machine_has_one_budget_however_many_addresses_it_has(address, key):
    assert key_of(address) == key
