"""What a person at the device may do, where no agent answers."""

import os
import threading
from pathlib import Path

import pytest

from broker.messages import BundleRef, Desired
from edge_agent import asking
from edge_agent.asking import AgentSilentError, become_owner_of
from edge_agent.bundle import TrialRules
from edge_agent.by_hand import NotDoneError, install, outcome_of, roll_back
from edge_agent.clock import SystemClock
from edge_agent.errors import BundleError, StorageError
from edge_agent.lock import StateLock
from edge_agent.mailbox import LocalAnswer, inbox_of, leave_answer, remove_update, take_asks
from edge_agent.settings import AgentSettings, load_settings
from edge_agent.update.record import Content, Record, Refusal, Roles, Slots
from edge_agent.update.states import State
from tests.bundles import make_bundle
from tests.unit.edge_agent.test_settings import GOOD
from tests.unit.edge_agent.test_update_file import HINT, packed
from tests.unit.edge_agent.update.simulators import Device, Stagings
from tests.waiting import wait_until

CLOCK = SystemClock()
TOY = BundleRef("toy", 1)
OURS = Desired(TOY, "local-1", 1.7e9, "me")
RUNS = Content(TOY, "native", "0" * 64)


@pytest.fixture
def settings(tmp_path: Path) -> AgentSettings:
    path = tmp_path / "agent.toml"
    path.write_text(GOOD, encoding="utf-8")
    return load_settings(path)


@pytest.fixture
def update_file(tmp_path: Path) -> Path:
    path = tmp_path / "x.update"
    path.write_bytes(packed(("fieldloop-update.json", HINT), ("metadata/1.root.json", b"root")))
    return path


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        (Record(), None),
        (Record(state=State.FETCHING, order=OURS), None),
        (Record(state=State.TRIAL, order=OURS), "on_trial"),
        (Record(state=State.TRIAL), "waits"),
        (Record(state=State.ROLLING_BACK), "waits"),
        (Record(settled_order="local-1", roles=Roles("a"), slots=Slots(a=RUNS)), "committed"),
        (Record(settled_order="local-1"), None),
        (Record(settled_order="other", roles=Roles("a"), slots=Slots(a=RUNS)), None),
    ],
)
def test_the_record_tells_what_became_of_an_order(record: Record, outcome: str | None):
    told = outcome_of(record, "local-1", TOY)
    assert (told.outcome if told is not None else None) == outcome


def test_a_refusal_under_the_order_is_told_with_its_reason_and_another_one_is_none():
    refused = Record(refusals=(Refusal(TOY, "local-1", "golden row 3 differs"),))
    with pytest.raises(BundleError, match="golden row 3 differs"):
        outcome_of(refused, "local-1", TOY)
    assert outcome_of(refused, "local-2", TOY) is None


def test_an_agent_that_takes_no_notice_is_told_of_and_nothing_is_left_for_it(
    settings: AgentSettings, update_file: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(asking, "ANSWER_S", 0.2)
    lock = StateLock(Path(settings.state))
    try:
        with pytest.raises(AgentSilentError, match="took no notice"):
            install(settings, update_file, CLOCK, lambda _: None)
        with pytest.raises(AgentSilentError, match="took no notice"):
            roll_back(settings, "because", CLOCK)
    finally:
        lock.close()
    assert take_asks(Path(settings.state)) == []
    assert not list(inbox_of(Path(settings.state)).iterdir())


def test_that_a_newer_order_took_its_place_is_told(settings: AgentSettings, update_file: Path):
    state = Path(settings.state)
    lock = StateLock(state)
    asked: list[str] = []

    def be_the_agent() -> None:
        def is_asked() -> bool:
            asked.extend(ask_id for ask_id, _ in take_asks(state))
            return bool(asked)

        wait_until(is_asked, 10, "it is asked")
        leave_answer(state, asked[0], LocalAnswer(accepted=True))
        remove_update(state, asked[0])

    agent = threading.Thread(target=be_the_agent)
    agent.start()
    try:
        with pytest.raises(NotDoneError, match="a newer order took the place of toy/3"):
            install(settings, update_file, CLOCK, lambda _: None)
    finally:
        agent.join()
        lock.close()


def test_what_is_no_update_file_is_refused_before_anything_is_written(settings: AgentSettings, tmp_path: Path):
    (tmp_path / "no.update").write_bytes(b"PK")
    for name in ("no.update", "nowhere.update"):
        with pytest.raises((BundleError, StorageError), match=name):
            install(settings, tmp_path / name, CLOCK, lambda _: None)
    assert not Path(settings.state).exists()


def test_a_file_that_is_not_there_is_said_to_be_that(settings: AgentSettings, tmp_path: Path):
    with pytest.raises(BundleError, match=r"none\.update: cannot be read: No such file"):
        install(settings, tmp_path / "none.update", CLOCK, lambda _: None)


def test_a_file_whose_name_is_no_text_is_taken(settings: AgentSettings, update_file: Path):
    odd = Path(os.fsdecode(os.fsencode(update_file.parent) + b"/\xff.update"))
    update_file.rename(odd)
    told: list[str] = []
    with pytest.raises(BundleError):
        install(settings, odd, CLOCK, told.append)
    assert told[0].startswith("?.update holds toy/3")


def test_with_a_bundle_on_trial_and_no_agent_nothing_is_installed_and_going_back_ends_the_trial(
    settings: AgentSettings, update_file: Path, tmp_path: Path
):
    for version in (1, 2):
        make_bundle(tmp_path / "bundles" / f"v{version}", version=version, trial=TrialRules(rows=20))
    state = Path(settings.state)
    device = Device(state, Stagings(tmp_path / "bundles"))
    device.update(1, "one")
    device.order(2, "two")
    device.poll(3)
    device.updater.stop()
    with pytest.raises(NotDoneError, match="on trial"):
        install(settings, update_file, CLOCK, lambda _: None)
    assert not list(inbox_of(state).iterdir())
    done = roll_back(settings, "because", CLOCK)
    assert (done.bundle, done.detail) == ("toy/1", "the trial is ended")
    again = Device(state, Stagings(tmp_path / "bundles"))
    assert again.scoring == 1
    assert "because" in again.updater.events()[-1].reason


def test_root_goes_on_as_the_owner_of_the_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    acts: list[tuple[str, object]] = []
    monkeypatch.setattr(os, "setgroups", lambda groups: acts.append(("setgroups", groups)))
    monkeypatch.setattr(os, "setgid", lambda group: acts.append(("setgid", group)))
    monkeypatch.setattr(os, "setuid", lambda user: acts.append(("setuid", user)))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    owner = os.stat_result((0o40755, 0, 0, 2, 1234, 5678, 0, 0, 0, 0))
    monkeypatch.setattr(Path, "stat", lambda _self, **_: owner)
    become_owner_of(tmp_path)
    # The user last: after it, nothing else may be changed.
    assert acts == [("setgroups", [5678]), ("setgid", 5678), ("setuid", 1234)]
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    become_owner_of(tmp_path)
    assert len(acts) == 3
