"""Places of requests: so many at once, so many of one key, and who comes too many is told when to try again."""

import secrets

import pytest

from tests.serving import GOOD, running
from trainer.serving.keys import add_key
from trainer.serving.limits import BusyError, Limits, Places


def test_a_place_that_is_given_back_is_free_again():
    places = Places(Limits(max_requests=2))
    places.take("")
    places.take("")
    with pytest.raises(BusyError) as refusal:
        places.take("")
    assert (refusal.value.status, refusal.value.retry_after_s) == (503, 1)
    places.give_back("")
    places.take("")
    assert places.taken == 2


def test_one_key_cannot_take_all_places():
    places = Places(Limits(max_requests=3, max_requests_a_key=1))
    places.take("shop")
    with pytest.raises(BusyError) as refusal:
        places.take("shop")
    assert refusal.value.status == 429
    places.take("lab")
    places.give_back("shop")
    places.take("shop")


def test_one_request_too_many_is_told_to_come_later(bundles):
    with running(bundles[1], Limits(max_requests=1)) as service:
        with service.a_request_that_is_not_whole():
            status, answer, told = service.ask("POST", "/v2/models/toy/infer", "{}")
            assert (status, told["retry-after"]) == (503, "1")
            assert "try again later" in answer["error"]
            # Whether it lives, and its figures, are told all the same.
            assert service.ask("GET", "/v2/health/ready")[0] == 200
            assert b"requests_in_flight 1.0" in service.ask("GET", "/metrics")[1]
        assert service.infer(GOOD)[0] == 200


def test_a_key_that_has_its_requests_in_flight_is_told_to_come_later(bundles, tmp_path):
    file = tmp_path / "keys"
    shop, lab = ({"X-API-Key": add_key(file, name, secrets.token_urlsafe)} for name in ("shop", "lab"))
    with (
        running(bundles[1], Limits(max_requests_a_key=1), keys=file) as service,
        service.a_request_that_is_not_whole(shop),
    ):
        status, _, told = service.ask("POST", "/v2/models/toy/infer", "{}", shop)
        assert (status, told["retry-after"]) == (429, "1")
        assert service.infer(GOOD, headers=lab)[0] == 200
