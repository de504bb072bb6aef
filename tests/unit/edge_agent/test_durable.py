"""Files are replaced whole or not at all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.durable import make_folder, replace_file

REPLACE_FOR_EVER = """
import sys
from pathlib import Path
from edge_agent.durable import make_folder, replace_file
path = Path(sys.argv[1])
print("ready", flush=True)
number = 0
while True:
    replace_file(path, str(number % 10).encode() * 50_000)
    number += 1
"""


def test_a_file_is_written_and_replaced_with_its_mode(tmp_path: Path):
    path = tmp_path / "state"
    replace_file(path, b"one")
    replace_file(path, b"two", mode=0o600)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_refusal_leaves_the_old_file_and_no_rest(tmp_path: Path):
    path = tmp_path / "state"
    path.mkdir()
    (path / "child").write_text("")
    with pytest.raises(OSError, match="state"):
        replace_file(path, b"data")
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path, repository: Path):
    path = tmp_path / "state"
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", REPLACE_FOR_EVER, str(path)],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(repository)},
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            for _ in range(20):
                data = path.read_bytes() if path.exists() else b""
                assert len(set(data)) <= 1
            child.send_signal(signal.SIGKILL)
        data = path.read_bytes() if path.exists() else b""
        assert len(data) in {0, 50_000}
        assert len(set(data)) <= 1


def test_a_folder_is_made_with_those_above_it_and_each_is_synced_into_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    synced: list[str] = []
    monkeypatch.setattr("edge_agent.durable.sync_folder", lambda folder: synced.append(str(folder)))
    make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert set(synced) == {str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")}
    synced.clear()
    # It may be there, and not be durable yet.
    make_folder(tmp_path / "a" / "b" / "c")
    assert synced == [str(tmp_path / "a" / "b")]
