"""Where the beginnings of files lie whose download was cut off. They are believed only when they are whole."""

from pathlib import Path
from typing import Final

from broker.messages import BundleRef

PARTIAL_FOLDER: Final = "partial"


def partial_folder(metadata: Path, bundle: BundleRef) -> Path:
    """Return the folder for a bundle's beginnings, below that of the update metadata."""
    return metadata / PARTIAL_FOLDER / f"{bundle.name}-{bundle.version}"


def kept_bytes(metadata: Path) -> int:
    """Return how much of files lies there that are not whole yet."""
    total = 0
    for path in (metadata / PARTIAL_FOLDER).glob("*/*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def keep_only(metadata: Path, bundle: BundleRef) -> None:
    """Remove what is left of other bundles: one bundle's beginnings are kept at a time."""
    import shutil  # noqa: PLC0415 - it brings four compressors along, and an agent never removes, its child does

    kept = partial_folder(metadata, bundle)
    for folder in (metadata / PARTIAL_FOLDER).glob("*"):
        if folder != kept:
            shutil.rmtree(folder, ignore_errors=True)
