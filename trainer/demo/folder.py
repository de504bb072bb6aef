"""The demo's folder: made new each time, and never over anything that is not an earlier demo."""

import shutil
from pathlib import Path
from typing import Final

from trainer.errors import DataError

MARKER: Final = ".fieldloop-demo"


def make_folder(folder: Path) -> None:
    """Make an empty folder for a demo; an earlier demo in it is removed.

    Raises:
        DataError: it holds something else.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise DataError(f"{folder} is not empty and no earlier demo: choose another --folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("made by fieldloop demo; replaced by the next one\n", encoding="utf-8")
