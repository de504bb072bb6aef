"""Reads the bundle that a card is to carry out of an update file, by the checks that a device makes of one."""

import tempfile
from pathlib import Path, PurePosixPath

from edge_agent.bundle import MANIFEST_NAME, parse_manifest
from edge_agent.errors import AgentError
from edge_agent.scoring.selection import Device
from edge_agent.update.carried import Carried
from edge_agent.update.fetcher import BundleFetcher
from edge_agent.update_file import open_update
from exporter.image.card.description import Preloaded
from exporter.image.card.preloaded import chosen_variant
from exporter.image.errors import CardError

# Nothing is fetched over a network.
_TIMEOUT_S = 1.0


def load_signed(
    path: Path, root: bytes, board: Device, *, prefer: tuple[str, ...] = (), grace_s: float = 0.0
) -> Preloaded:
    """Read a bundle.

    Args:
        path: what `fieldloop repository export` wrote.
        root: the trusted root that the card has, too.
        board: decides which variant is taken.
        prefer: names of variants, best first.
        grace_s: the lists in it are believed for so long after they have expired.

    Raises:
        CardError: it is not signed by this root, is damaged, or none of its variants can run on this board.
    """
    try:
        with open_update(path) as update, tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            lists = folder / "lists"
            fetcher = BundleFetcher("", root, lists, _TIMEOUT_S, carried=Carried(update, grace_s))
            fetcher.refresh()
            data = fetcher.fetch_manifest(update.bundle, folder / MANIFEST_NAME)
            manifest = parse_manifest(data)
            if manifest.ref != update.bundle:
                raise CardError(f"{path}: the manifest listed as {update.bundle} is of {manifest.ref}")
            chosen = chosen_variant(manifest, board, prefer)
            variant = next(each for each in manifest.variants if each.name == chosen)
            fetcher.fetch_variant(update.bundle, variant, folder / "variant")
            return Preloaded(data, chosen, (folder / "variant").read_bytes(), _lists_in(lists))
    except (AgentError, OSError) as error:
        raise CardError(f"{path}: {error}") from error


def _lists_in(folder: Path) -> tuple[tuple[PurePosixPath, bytes], ...]:
    # What a link names is there itself; the next visit makes the link anew.
    files = [path for path in sorted(folder.rglob("*.json")) if path.is_file() and not path.is_symlink()]
    return tuple((PurePosixPath(path.relative_to(folder).as_posix()), path.read_bytes()) for path in files)
