"""Makes what a reader of README.md or of a guide brings along: ``python -m tests.docs.prepare WHAT…`` in its folder.

And looks at what a page cannot show: ``stored-labels``.
"""

import csv
import os
import pwd
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.clock import SystemClock

FEATURES: Final = ("temperature", "pressure", "vibration")
LABELS: Final = ("low", "high")
FLEET: Final = "plant"
STATE: Final = Path(".fieldloop")
NAME: Final = "quality"
N_ROWS: Final = 3000


def write_measurements() -> None:
    """``measurements.csv``: three features and the label ``quality``, which half-way begins to depend on them anew."""
    _write_rows(Path("measurements.csv"), "quality", LABELS)


def write_readings() -> None:
    """``readings.csv``: recordings of a machine, good and worn, to learn from; ``live.csv``: what a device reads."""
    from tests.unit.trainer import signal_project

    rng = np.random.default_rng(1)
    recordings = [(f"r{n}", n % 2, signal_project.shake(n % 2, rng)) for n in range(signal_project.N_RECORDINGS)]
    signal_project.write_readings(Path("readings.csv"), recordings)
    signal_project.write_readings(Path("live.csv"), [("live", 1, signal_project.shake(1, rng, 4000))])


def write_model() -> None:
    """``model.skops``, a forest, and ``rows.csv`` that it has not seen, with the label ``rain``."""
    # Each part is imported where it is wanted: together they take seconds.
    import skops.io
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import Pipeline

    names = ("no", "yes")
    rows, truth = _make_rows(seed=2)
    forest = RandomForestClassifier(20, min_samples_leaf=20, random_state=1).fit(rows, np.array(names)[truth])
    skops.io.dump(Pipeline([("forest", forest)]), "model.skops")
    _write_rows(Path("rows.csv"), "rain", names)


def make_a_bundle() -> None:
    """``bundle``: as ``fieldloop export`` leaves it, of a model named quality."""
    from tests.bundles import Toy, make_bundle

    make_bundle(Path("bundle"), Toy(name=NAME, features=FEATURES))


def make_a_repository() -> None:
    """``bundle``, ``repository`` that lists it, and its ``keys``."""
    _make_repository(Path())


def make_a_project() -> None:
    """``measurements.csv``, ``fieldloop.toml``, and the project's own update repository, that lists version 1."""
    write_measurements()
    features = "".join(f'\n[[features]]\nname = "{name}"\n' for name in FEATURES)
    Path("fieldloop.toml").write_text(_PROJECT + features, encoding="utf-8")
    STATE.mkdir()
    _make_repository(STATE)


def copy_the_tiny_card() -> None:
    """``card.img``: Debian's kernel and busybox, from the user's own cache, not from one in the page's folder."""
    from tests.tiny_card import tiny_card

    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    shutil.copy(tiny_card({"XDG_CACHE_HOME": str(home / ".cache")}), "card.img")


def make_a_raspberry_image() -> None:
    """``raspios.img`` with the layout of Raspberry Pi OS, what makes a card, and the agent's package in build/deb."""
    from scripts.deb.architectures import ARCHITECTURES
    from scripts.deb.build import DEFAULT_FOLDER, build_package
    from tests.cards import make_user_files
    from tests.conftest import REPOSITORY
    from tests.raspberry_image import make_image

    here = Path.cwd()
    make_image(here)
    make_user_files(here)
    os.chdir(REPOSITORY)
    build_package(ARCHITECTURES["arm64"], "0.1.0", here / DEFAULT_FOLDER, DEFAULT_FOLDER, 0)


def wait_for_labels() -> None:
    """Wait until the project's monitor has stored two labels."""
    from sqlalchemy import func, select

    from tests.waiting import wait_until
    from trainer.monitoring.store import open_store, store_uri
    from trainer.monitoring.tables import LABELS as TABLE

    store = open_store(store_uri((STATE / "fleet.db").absolute()))

    def stored() -> bool:
        with store.reading() as connection:
            return connection.execute(select(func.count()).select_from(TABLE)).scalar() == len(LABELS)

    wait_until(stored, what="the monitor has stored the labels")
    store.close()


def _make_repository(folder: Path) -> None:
    from exporter.repository.repository import init_repository, publish_bundle

    make_a_bundle()
    clock = SystemClock()
    init_repository(folder / "repository", folder / "keys", clock=clock)
    publish_bundle(Path("bundle"), folder / "repository", folder / "keys", clock=clock)


def _make_rows(seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    rows = np.round(rng.normal(size=(N_ROWS, len(FEATURES))), 4)
    slopes = np.where(np.arange(N_ROWS)[:, np.newaxis] < N_ROWS // 2, (1.0, 1.0, 1.0), (1.0, -1.0, 0.0))
    truth = ((rows * slopes).sum(axis=1) + 0.2 * rng.normal(size=N_ROWS) > 0).astype(np.int64)
    return rows.astype(np.float32), truth


def _write_rows(path: Path, target: str, labels: tuple[str, str]) -> None:
    rows, truth = _make_rows(seed=1)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow((*FEATURES, target))
        writer.writerows((*(f"{v:.4f}" for v in row), labels[i]) for row, i in zip(rows, truth, strict=True))


_PROJECT: Final = f"""\
name = "{NAME}"
fleet = "{FLEET}"

[data]
path = ["measurements.csv"]
rows = [0, {N_ROWS // 2}]

[target]
column = "quality"
task = "classification"
labels = ["low", "high"]
"""

KNOWN: Final[Mapping[str, Callable[[], None]]] = {
    "measurements": write_measurements,
    "readings": write_readings,
    "model": write_model,
    "bundle": make_a_bundle,
    "repository": make_a_repository,
    "project": make_a_project,
    "tiny-card": copy_the_tiny_card,
    "raspberry-image": make_a_raspberry_image,
    "stored-labels": wait_for_labels,
}

if __name__ == "__main__":
    for what in sys.argv[1:]:
        KNOWN[what]()
