"""A project of two features over small files, for tests of what reads them."""

from pathlib import Path

from trainer.project.loading import load_project
from trainer.project.project import LoadedProject

ROWS = "pressure,vibration,quality\n1,10,good\n2,20,scrap\n3,30,good\n"

_PROJECT = """\
name = "quality"

[data]
path = [{paths}]
{data}

[target]
column = "quality"
{target}
"""
FEATURES = '[[features]]\nname = "pressure"\n[[features]]\nname = "vibration"\n'


def write_project(
    folder: Path,
    *files: str | bytes,
    data: str = "",
    target: str = 'task = "classification"',
    features: str = FEATURES,
) -> LoadedProject:
    """Write a project over files of these contents, ``rows0.csv`` and on; the other arguments are lines of TOML."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"rows{number}.csv" for number in range(len(files) or 1)]
    for name, content in zip(names, files or (ROWS,), strict=True):
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    paths = ", ".join(f'"{name}"' for name in names)
    text = _PROJECT.format(paths=paths, data=data, target=target) + features
    (folder / "fieldloop.toml").write_text(text, encoding="utf-8")
    return load_project(folder)
