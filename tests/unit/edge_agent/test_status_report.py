"""What ``fieldloop-agent status`` says to people, from a state folder alone."""

from pathlib import Path

import msgspec
import pytest

from broker.messages import BundleRef, Desired
from edge_agent.enrolment.identity_file import Held, write_identity
from edge_agent.live import Live, write_live
from edge_agent.settings import AgentSettings, EnrolmentSettings, RepositorySettings, SourceSettings
from edge_agent.status_report import as_text, read_report
from edge_agent.update.record import Content, Record, Roles, Slots
from edge_agent.update.slots import SlotStore
from edge_agent.update.states import State

FIRST, SECOND = (Content(BundleRef("toy", version), "native", "0" * 64) for version in (1, 2))


@pytest.fixture
def settings(tmp_path: Path) -> AgentSettings:
    return AgentSettings(
        device="one",
        fleet="test",
        state=str(tmp_path),
        repository=RepositorySettings("http://127.0.0.1:1/", "root.json", "toy"),
        source=SourceSettings("http"),
    )


def save(settings: AgentSettings, **changes: object) -> None:
    record = Record(
        roles=Roles(active="a", candidate="b"),
        slots=Slots(a=FIRST, b=SECOND),
        order=Desired(SECOND.bundle, "order", 1.0, "me"),
        **changes,  # type: ignore[arg-type]  # names of fields
    )
    SlotStore(Path(settings.state)).save(record)


def test_a_bundle_in_the_shadow_is_named_with_what_ends_it(settings: AgentSettings):
    save(settings, state=State.SHADOW, shadow_rows=500)
    assert "shadow     toy/2, native, ends after 500 rows" in as_text(read_report(settings))


def test_a_bundle_that_is_fetched_for_the_shadow_is_no_update(settings: AgentSettings):
    save(settings, state=State.FETCHING, shadow_rows=0)
    assert "shadow     toy/2, being fetched and proved" in as_text(read_report(settings))


def test_an_update_is_no_shadow(settings: AgentSettings):
    save(settings, state=State.FETCHING)
    report = read_report(settings)
    assert report.shadow is None
    assert "\nshadow " not in as_text(report)


def test_what_a_source_refused_is_told_and_what_it_took_in_is_not(settings: AgentSettings):
    source = {"taken_in": 9, "turned_away": 3, "unkept": 0, "refused_connections": 2, "refused_requests": 1}
    write_live(Path(settings.state), Live("one", "test", "1", "boot", 1, 0.0, 0.0, source=source))
    told = as_text(read_report(settings))
    assert "source     3 rows turned away, 2 connections refused, 1 requests refused" in told


@pytest.mark.parametrize(
    ("windows", "told"),
    [
        (0, "rows       none counted since 1970-01-01T00:00:00+00:00: no window has ended yet"),
        (1, "rows       7 scored, 2 refused in 1 window since"),
        (2, "rows       7 scored, 2 refused in 2 windows since"),
    ],
)
def test_rows_count_once_a_window_has_ended_and_until_then_none_is_called_scored(
    settings: AgentSettings, windows: int, told: str
):
    live = Live("one", "test", "1", "boot", 1, 0.0, 0.0, rows_scored=7, rows_refused=2, windows=windows)
    write_live(Path(settings.state), live)
    assert told in as_text(read_report(settings))


def test_a_source_that_refused_nothing_has_no_line(settings: AgentSettings):
    write_live(Path(settings.state), Live("one", "test", "1", "boot", 1, 0.0, 0.0, source={"turned_away": 0}))
    assert "\nsource " not in as_text(read_report(settings))


def test_a_device_that_enrols_tells_until_when_its_certificate_is_good(settings: AgentSettings):
    assert "identity" not in as_text(read_report(settings))
    enrolling = msgspec.structs.replace(settings, enrolment=EnrolmentSettings("https://e:1", "ca.pem"))
    assert "identity   none yet" in as_text(read_report(enrolling))
    write_identity(Path(settings.state), Held("one", "test", 0.0, 1.8e9, 1.0, "b", 1, ""), b"", b"")
    assert "identity   good until 2027-01-15T08:00:00+00:00" in as_text(read_report(enrolling))
