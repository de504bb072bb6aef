"""What is played on which rows: of the demo's own data, or of a user's project."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from trainer.demo.data import DemoData
from trainer.demo.folder import make_folder
from trainer.demo.one_machine import Plan
from trainer.demo.replay import write_replay
from trainer.demo.shares import Share, every_nth
from trainer.errors import DataError
from trainer.project.loading import FILE_NAME, load_project
from trainer.project.project import LoadedProject

Broker = Literal["auto", "mosquitto", "amqtt"]

# A user's rows are played in about this time, unless a pace is given.
_PLAY_S = 90.0
# For devices that go on after the last row: the rows come again so often.
_KEPT_PASSES = 20


@dataclass(frozen=True, slots=True)
class Manner:
    """How somebody wants it played.

    Attributes:
        rows_per_second: of each device; None: the pace that the data have.
        keep: devices go on after the last row.
    """

    broker: Broker = "auto"
    rows_per_second: float | None = None
    keep: bool = False


def plan_of_data(data: DemoData, folder: Path, n_devices: int, manner: Manner, *, seed: int) -> Plan:
    """Write a data set of our own to ``folder``, which is made anew, and plan for it."""
    make_folder(folder)
    data.write(folder, seed)
    return _plan(load_project(folder), data.shares(n_devices), data.rows_per_second, manner)


def plan_of_project(project: Path, folder: Path, n_devices: int, manner: Manner) -> Plan:
    """Plan for a user's project: its rows after the training rows, dealt out in turn.

    The project file is copied to ``folder``, which is made anew, and its data are linked there, so that all state stays
    in the folder.

    Raises:
        ProjectError: the project file is wrong.
        DataError: no rows are left after the training rows, the data lie above the project's folder, or the project
            lies in the folder, which would remove it.
    """
    theirs = load_project(project)
    for path in (theirs.folder, *theirs.data_paths):
        if path.resolve().is_relative_to(folder.resolve()):
            raise DataError(f"{path} lies in {folder}, which the demo makes anew: choose another --folder")
    make_folder(folder)
    _copy_project(theirs, project, folder)
    loaded = load_project(folder)
    once = write_replay(loaded)
    shares = every_nth(once.first_row, once.end_row, n_devices)
    return _plan(loaded, shares, max(1.0, len(shares[0].rows) / _PLAY_S), manner)


def _plan(loaded: LoadedProject, shares: tuple[Share, ...], pace: float, manner: Manner) -> Plan:
    """Plan for shares of the data; devices that are kept go on from there to the end of the file."""
    replay = write_replay(loaded, _KEPT_PASSES if manner.keep else 1)
    if manner.keep:
        shares = tuple(replace(share, end_row=len(replay.rows)) for share in shares)
    return Plan(loaded, replay, shares, manner.rows_per_second or pace, manner.broker)


def _copy_project(theirs: LoadedProject, project: Path, folder: Path) -> None:
    for name, path in zip(theirs.project.data.path, theirs.data_paths, strict=True):
        place = folder / name
        if Path(name).is_absolute():
            continue
        if not place.resolve().is_relative_to(folder.resolve()):
            raise DataError(f"key 'data.path': {name!r} lies above the project's folder; give its absolute path")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path.resolve())
    file = project / FILE_NAME if project.is_dir() else project
    shutil.copyfile(file, folder / FILE_NAME)
