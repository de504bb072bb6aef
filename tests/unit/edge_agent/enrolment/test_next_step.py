import msgspec
import pytest

from edge_agent.enrolment.identity_file import Held
from edge_agent.enrolment.next_step import LINK_PATIENCE_S, Known, next_step, renewal_time_s

HELD = Held("one", "test", 6_400.0, 40_000.0, 10_000.0, "broker", 8883, "first-token")
QUIET = Known(
    now_s=20_000.0,
    is_time_sure=True,
    is_clock_behind=False,
    token=None,
    held=HELD,
    renews_at_s=30_000.0,
    link_down_s=0.0,
)


def test_a_device_with_a_good_certificate_does_nothing():
    assert next_step(QUIET) is None


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({"held": None}, None),
        ({"held": None, "token": "first-token"}, "enrol"),
        ({"now_s": 30_000.0}, "renew"),
        ({"now_s": 90_000.0}, "renew"),
        ({"now_s": 30_000.0, "is_time_sure": False}, "time"),
        ({"is_clock_behind": True}, None),
        ({"is_clock_behind": True, "is_time_sure": False}, "time"),
        ({"link_down_s": LINK_PATIENCE_S, "is_time_sure": False}, "time"),
        ({"link_down_s": LINK_PATIENCE_S}, None),
    ],
)
def test_what_is_due_follows_from_what_is_known(changes, step):
    assert next_step(msgspec.structs.replace(QUIET, **changes)) == step


def test_a_new_token_enrols_a_device_anew_and_a_used_one_does_not():
    assert next_step(msgspec.structs.replace(QUIET, token="another-token")) == "enrol"
    assert next_step(msgspec.structs.replace(QUIET, token="first-token")) is None


def test_renewal_comes_after_its_share_of_the_life_and_never_in_the_last_quarter_of_the_rest():
    assert renewal_time_s(HELD, 2 / 3, 0.0) == pytest.approx(30_000.0)
    assert renewal_time_s(HELD, 2 / 3, 1.0) == pytest.approx(32_500.0)
