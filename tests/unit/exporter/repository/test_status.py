import io
import json
from datetime import timedelta
from pathlib import Path

import pytest
from rich.console import Console

from exporter.repository.refresh import refresh_timestamp
from exporter.repository.roles import Quorum
from exporter.repository.status import read_status, status_json, status_table
from tests.unit.exporter.places import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path).init(root=Quorum(3, 2))
    place.publish()
    return place


def test_each_role_is_told_with_its_keys_and_its_end(place: Place):
    roles = {role.role: role for role in read_status(place.repository, clock=place.clock)}
    assert list(roles) == ["root", "targets", "model-digits", "snapshot", "timestamp"]
    assert {role.role: round(role.days_left) for role in roles.values()} == {
        "root": 365,
        "targets": 90,
        "model-digits": 90,
        "snapshot": 7,
        "timestamp": 1,
    }
    root = roles["root"]
    assert (root.version, root.threshold, len(root.keys), root.signed_by) == (1, 2, 3, root.keys)
    assert roles["snapshot"].version == 2
    assert not any(role.expires_soon for role in roles.values())


@pytest.mark.parametrize(
    ("days", "expired", "soon"),
    [
        (0.8, set(), {"timestamp"}),
        (2.0, {"timestamp"}, {"timestamp"}),
        (6.0, {"timestamp"}, {"timestamp", "snapshot"}),
        (400.0, {"root", "targets", "model-digits", "snapshot", "timestamp"}, set()),
    ],
)
def test_what_has_expired_or_will_soon_is_told(place: Place, days: float, expired: set[str], soon: set[str]):
    place.clock.now_s += days * 86400
    roles = read_status(place.repository, clock=place.clock)
    assert {role.role for role in roles if role.has_expired} == expired
    assert {role.role for role in roles if role.expires_soon} == expired | soon


def test_the_bound_can_be_named(place: Place):
    roles = read_status(place.repository, clock=place.clock, within=timedelta(days=8))
    assert {role.role for role in roles if role.expires_soon} == {"snapshot", "timestamp"}


def test_after_a_refresh_nothing_expires_soon(place: Place):
    place.clock.now_s += 80 * 86400
    refresh_timestamp(place.repository, place.keys, clock=place.clock)
    assert not any(role.expires_soon for role in read_status(place.repository, clock=place.clock))


def test_machines_and_people_are_told_the_same(place: Place):
    roles = read_status(place.repository, clock=place.clock)
    facts = json.loads(status_json(roles))
    assert [fact["role"] for fact in facts] == [role.role for role in roles]
    assert facts[0]["threshold"] == 2
    page = io.StringIO()
    Console(width=300, file=page).print(status_table(roles))
    text = page.getvalue()
    assert all(role.role in text and f"{role.expires:%Y-%m-%d %H:%M}" in text for role in roles)


def test_a_signature_that_is_none_is_not_told(place: Place):
    path = place.repository / "metadata" / "1.root.json"
    root = json.loads(path.read_bytes())
    root["signatures"][2]["sig"] = "0" * 128
    path.write_text(json.dumps(root), encoding="utf-8")
    assert len(read_status(place.repository, clock=place.clock)[0].signed_by) == 2
