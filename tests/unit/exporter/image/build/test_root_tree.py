import os
import shutil
from pathlib import Path

import pytest

from exporter.image.build.root_tree import RootTree

TIME_S = 1_700_000_000
LATER_S = TIME_S + 1000

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="without root it takes /etc/subuid"
)


def test_what_is_added_has_the_times_that_it_keeps_before_anything_takes_note_of_them(tmp_path: Path):
    source, root = tmp_path / "wheels", tmp_path / "root"
    (source / "numpy").mkdir(parents=True)
    root.mkdir()
    for name, time_s in (("early.py", TIME_S - 1), ("late.py", LATER_S)):
        (source / "numpy" / name).write_text("")
        os.utime(source / "numpy" / name, (time_s, time_s))
    RootTree(root, TIME_S).add_folder(source, "usr/local/lib/fieldloop")
    added = root / "usr/local/lib/fieldloop"
    times = {path.name: path.stat().st_mtime for path in (added, *added.rglob("*"))}
    assert times == {"fieldloop": TIME_S, "numpy": TIME_S, "early.py": TIME_S - 1, "late.py": TIME_S}
