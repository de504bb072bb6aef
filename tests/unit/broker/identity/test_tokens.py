from collections.abc import Callable

import pytest

from broker.identity.names import IdentityError
from broker.identity.tokens import make_token, parse_token
from broker.topics import FleetId

TOKEN = make_token(FleetId("plant"), 1_700_000_000.9)


def test_a_token_names_its_fleet_and_when_it_was_made():
    assert parse_token(TOKEN.text) == TOKEN
    assert (TOKEN.fleet, TOKEN.issued_utc_s) == ("plant", 1_700_000_000)


def test_no_two_tokens_are_alike():
    assert len({make_token(FleetId("plant"), 1.0).text for _ in range(100)}) == 100


def test_what_is_shown_of_a_token_does_not_hold_its_secret():
    secret = TOKEN.text.split(".")[2]
    assert secret not in repr(TOKEN) + TOKEN.label + TOKEN.digest


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "",
        lambda _: "plant",
        lambda _: "a" * 500,
        lambda text: text + "x",
        lambda text: text.upper(),
        lambda text: "-." + text[6:],
    ],
)
def test_what_is_no_token_is_refused_and_not_repeated(damage: Callable[[str], str]):
    text = damage(TOKEN.text)
    with pytest.raises(IdentityError) as told:
        parse_token(text)
    assert not text or text not in str(told.value)
