"""The command ``fieldloop-agent``."""

import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from broker.messages import Event, encode_body
from broker.topics import Channel
from edge_agent.asking import AgentSilentError
from edge_agent.by_hand import NotDoneError
from edge_agent.cli import INTERRUPTED, main
from edge_agent.enrolment.by_hand import EnrolmentFailedError
from edge_agent.errors import AgentError
from edge_agent.live import SPOOL_NAME
from edge_agent.lock import StateInUseError, StateLock, is_in_use
from edge_agent.telemetry.spool import Spool
from tests.unit.edge_agent.test_settings import GOOD
from tests.waiting import wait_until


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(GOOD, encoding="utf-8")
    for name in ("root.json", "rows.csv"):
        (tmp_path / name).write_text("x\n", encoding="utf-8")
    return path


def test_good_settings_are_called_good(settings: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["check-config", "--settings", str(settings)]) == 0
    assert "good; device station-1" in capsys.readouterr().out


def test_every_problem_is_named_with_exit_code_2(settings: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("root.json", "rows.csv"):
        (settings.parent / name).unlink()
    assert main(["check-config", "--settings", str(settings)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert "repository.root" in told[0]
    assert "source.path" in told[1]


def test_a_mistyped_key_is_named_with_the_nearest(settings: Path, capsys: pytest.CaptureFixture[str]):
    settings.write_text(GOOD.replace("fleet", "fleat"), encoding="utf-8")
    assert main(["check-config", "--settings", str(settings)]) == 2
    assert "unknown key 'fleat'; did you mean 'fleet'?" in capsys.readouterr().err


CODE = """
def open_rows(options):
    raise RuntimeError("it was started")


def open_valve():
    pass
"""


@pytest.mark.parametrize(
    ("factory", "code", "told"),
    [
        ("valve:open_rowz", CODE, "no 'open_rowz' in {folder}/valve.py; did you mean 'open_rows'?"),
        ("valve:open_valve", CODE, "valve:open_valve() cannot be called with the options alone"),
        ("valve:MAX", "MAX = 3", "valve:MAX is no function that can be called, but int"),
        ("valve:open_rows", "import a_bus_that_nobody_has", "No module named 'a_bus_that_nobody_has'"),
        ("valve:open_rows", "import a_bus_that_nobody_has", "{folder}/valve.py, line 1; mend it"),
        ("valve:open_rows", "\n\nraise SystemExit(3)", "SystemExit(3) in {folder}/valve.py, line 3"),
        ("valve:open_rows", "def open_rows(", "valve.py"),
        ("no_such_valve:open_rows", "", "no module 'no_such_valve'; install its package, or name its folder"),
        ("gauge", "", "no entry point 'gauge' in the group 'fieldloop.s"),
    ],
)
@pytest.mark.parametrize("section", ["source", "sink"])
def test_the_user_s_code_is_imported_and_what_is_wrong_with_it_is_told_with_its_place(
    settings: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    section: str,
    factory: str,
    code: str,
    told: str,
):
    (settings.parent / "valve.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(settings.parent)
    monkeypatch.delitem(sys.modules, "valve", raising=False)
    settings.write_text(with_code(section, factory), encoding="utf-8")
    assert main(["check-config", "--settings", str(settings)]) == 2
    error = capsys.readouterr().err
    assert f"key '{section}.factory'" in error
    assert told.format(folder=settings.parent) in error


def test_the_user_s_code_that_is_good_is_not_started(settings: Path, monkeypatch: pytest.MonkeyPatch):
    (settings.parent / "valve.py").write_text(CODE, encoding="utf-8")
    monkeypatch.syspath_prepend(settings.parent)
    monkeypatch.delitem(sys.modules, "valve", raising=False)
    settings.write_text(with_code("source", "valve:open_rows"), encoding="utf-8")
    assert main(["check-config", "--settings", str(settings)]) == 0


def with_code(section: str, factory: str) -> str:
    """Return good settings whose source or sink is the user's own code."""
    own = f'[{section}]\nkind = "python"\nfactory = "{factory}"\n'
    return re.sub(rf"\[{section}\]\n[^\[]*", "", GOOD) + "\n" + own


def test_the_status_of_an_agent_that_never_ran_says_so(settings: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["status", "--settings", str(settings)]) == 0
    told = capsys.readouterr().out
    assert "not running" in told
    assert "none yet" in told
    assert not (settings.parent / "state").exists()


def test_the_status_counts_what_waits_in_the_spool_while_an_agent_uses_it(
    settings: Path, capsys: pytest.CaptureFixture[str]
):
    state = settings.parent / "state"
    lock = StateLock(state)
    spool = Spool(state / SPOOL_NAME, random.Random(1))
    spool.put([(Channel.EVENTS, encode_body(Event("error", 0.0, "error", "for a test")))])
    assert main(["status", "--json", "--settings", str(settings)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["running"] is True
    assert report["spool"]["events"]["waiting"] == 1
    spool.close()
    lock.close()
    assert main(["status", "--json", "--settings", str(settings)]) == 0
    assert json.loads(capsys.readouterr().out)["running"] is False


def test_a_state_folder_has_one_agent(tmp_path: Path):
    first = StateLock(tmp_path)
    assert is_in_use(tmp_path)
    with pytest.raises(StateInUseError, match="process id"):
        StateLock(tmp_path)
    first.close()
    assert not is_in_use(tmp_path)
    StateLock(tmp_path).close()


def test_a_command_is_required_and_help_imports_nothing_heavy():
    heavy = {"msgspec", "numpy", "paho", "tuf", "sqlite3", "onnxruntime"}
    code = f"""
import sys
from edge_agent.cli import main
try:
    main(["--help"])
finally:
    sys.stderr.write(" ".join({heavy} & set(sys.modules)) + ".")
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "check-config" in done.stdout
    assert done.stderr == "."
    with pytest.raises(SystemExit):
        main([])


def classes_of_errors(base: type[AgentError]) -> Iterator[type[AgentError]]:
    yield base
    for each in base.__subclasses__():
        yield from classes_of_errors(each)


def test_help_tells_every_exit_code_that_an_error_has(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--help"])
    told = {int(code) for code in re.findall(r"^  (\d+) ", capsys.readouterr().out, re.MULTILINE)}
    assert {error.exit_code for error in classes_of_errors(AgentError)} - {1} == told - {0, INTERRUPTED}
    assert {NotDoneError, AgentSilentError, EnrolmentFailedError} <= set(classes_of_errors(AgentError))


@pytest.mark.parametrize(
    "command", ["run", "status", "explain", "check-config", "install", "rollback", "diagnose", "enrol"]
)
def test_the_help_of_a_command_says_what_it_does(command: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    (between,) = re.findall(r"\n\n([A-Z][^:]*\.)\n\n", capsys.readouterr().out.replace("SIGHUP:", "SIGHUP"))
    assert len(between) > 60


def test_a_running_agent_never_imports_what_only_its_child_needs():
    code = """
import sys
import edge_agent.wiring
print(sorted({"tuf", "urllib3", "securesystemslib", "cryptography", "numpy", "onnxruntime"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_an_agent_removes_what_a_cut_left_and_stops_politely_even_while_it_starts(settings: Path):
    leftover = settings.parent / "state" / ".update.json.k3v9x0ab"
    leftover.parent.mkdir()
    leftover.write_bytes(b"half a rec")
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "edge_agent", "run", "--settings", str(settings)], stderr=subprocess.PIPE
    )
    try:
        wait_until(lambda: not leftover.exists(), 10, "what a cut left is removed")
        wait_until(lambda: is_in_use(settings.parent / "state"), 10, "the agent runs")
        process.terminate()
        _, told = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 0, told


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"fieldloop-agent {version('fieldloop')}\n"
