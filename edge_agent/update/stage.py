"""The child process that fetches a bundle and proves it on this device: ``python -m edge_agent.update.stage``.

A process of its own, because it needs memory for a moment only (TUF, HTTP, a second model), and because a runtime that
crashes on a new model must take nothing else down. It reads one JSON order from stdin, whose end means that the agent
is gone, and writes one JSON report to stdout. Its exit code is that of the error's class.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from edge_agent.bundle import MANIFEST_NAME, Manifest, Variant, parse_manifest
from edge_agent.clock import SystemClock
from edge_agent.durable import sync_folder
from edge_agent.errors import AgentError, BundleError, RepositoryStaleError, RepositoryUnreachableError, StorageError
from edge_agent.scoring.device import read_device
from edge_agent.scoring.golden import verify_golden
from edge_agent.scoring.loading import open_runtime
from edge_agent.scoring.selection import choose_variant, explain_choice
from edge_agent.update.carried import Carried
from edge_agent.update.fetcher import BundleFetcher
from edge_agent.update.partial import kept_bytes
from edge_agent.update.slots import begin_proving, empty_slot, end_proving
from edge_agent.update.stage_messages import StageOrder, StageReport
from edge_agent.update_file import UpdateFile, open_update

NICENESS: Final = 10
EXIT_AGENT_GONE: Final = 70  # EX_SOFTWARE
LOCK_NAME: Final = ".stage.lock"


def stage(order: StageOrder) -> StageReport:
    """Fetch the ordered bundle into the candidate slot and prove it there.

    Raises:
        RepositoryUnreachableError: the road is bad.
        BundleError: the bundle is not trusted, does not suit this device, or does not score as it should.
        StorageError: the disk is full, or cannot be read now.
        OSError: the disk is broken.
    """
    with open_update(Path(order.carried)) if order.carried else contextlib.nullcontext() as carried:
        return _stage(order, carried)


def _stage(order: StageOrder, carried: UpdateFile | None) -> StageReport:
    slot = Path(order.slot)
    # The order is the safety property: nothing is opened before it is trusted, nothing proved before it is durable.
    # 1. Metadata: what is listed and signed now.
    empty_slot(slot)
    fetcher = BundleFetcher(
        order.url,
        _read_root(order.root),
        Path(order.metadata),
        order.timeout_s,
        bases=tuple(map(Path, order.bases)),
        min_bytes_per_s=order.min_bytes_per_s,
        clock=SystemClock(),
        carried=None if carried is None else Carried(carried, order.carried_grace_s),
    )
    fetcher.refresh()
    # 2. The manifest: is it of this bundle, can this device run it?
    data = fetcher.fetch_manifest(order.bundle, slot / MANIFEST_NAME)
    manifest = parse_manifest(data)
    if manifest.ref != order.bundle:
        raise BundleError(f"the manifest listed as {order.bundle} is of {manifest.ref}")
    device = read_device()
    variant = choose_variant(manifest.variants, device, order.prefer)
    # 3. The one variant that this device runs.
    kept = kept_bytes(Path(order.metadata))
    verify_room(variant, shutil.disk_usage(slot).free + kept, order.spare_disk_bytes)
    fetched = fetcher.fetch_variant(order.bundle, variant, slot / variant.file)
    for path in (slot / MANIFEST_NAME, slot / variant.file):
        _sync_file(path)
    sync_folder(slot)
    # 4. The answers: hash once more as it lies on this disk, then the golden rows on this device. It is the first time
    # that it runs here, and it may take the machine down: so that is written down before.
    begin_proving(slot)
    try:
        golden = _prove(manifest, variant, slot)
    finally:
        end_proving(slot)
    return StageReport(
        "proved",
        golden,
        variant=variant.name,
        manifest_sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data) + variant.size_bytes,
        choice=explain_choice(manifest.variants, device, order.prefer),
        fetched=f"{fetched.form}, {fetched.size_bytes} bytes",
    )


def verify_room(variant: Variant, free_bytes: int, spare_bytes: int) -> None:
    """Raise StorageError when a variant does not fit on the disk with some room to spare.

    It may lie there twice for a moment: in a smaller form, and as what is made of that.

    Args:
        variant: what is fetched.
        free_bytes: with what the download has taken already.
        spare_bytes: to be left.
    """
    needed_bytes = 2 * variant.size_bytes
    if free_bytes < needed_bytes + spare_bytes:
        raise StorageError(
            f"{free_bytes} bytes of disk are free; fetching {variant.name} takes {needed_bytes}, twice its size, "
            f"and {spare_bytes} to spare"
        )


def report_of(error: AgentError | OSError) -> tuple[StageReport, int]:
    """Turn an error into what the agent is told, and the exit code."""
    match error:
        case RepositoryUnreachableError():
            return StageReport("unreachable", str(error)), error.exit_code
        case StorageError():
            return StageReport("storage", str(error)), error.exit_code
        case AgentError():
            return StageReport("refused", str(error), may_pass=isinstance(error, RepositoryStaleError)), error.exit_code
        case _:
            return StageReport("storage", f"this device's disk: {error}"), StorageError.exit_code


def main() -> int:
    """Run ``python -m edge_agent.update.stage``."""
    with _private_stdout() as answer:
        order = msgspec.json.decode(sys.stdin.buffer.readline(), type=StageOrder)
        threading.Thread(target=_end_with_agent, daemon=True).start()
        with contextlib.suppress(OSError):
            os.nice(NICENESS)
        exit_code = 0
        try:
            with _locked(Path(order.metadata)):
                # Downloads pass through a temporary file: on this disk, because /tmp may be memory.
                tempfile.tempdir = order.metadata
                report = stage(order)
        except (AgentError, OSError) as error:
            report, exit_code = report_of(error)
        os.write(answer, msgspec.json.encode(report) + b"\n")
    return exit_code


def _prove(manifest: Manifest, variant: Variant, slot: Path) -> str:
    runtime = open_runtime(variant, slot, manifest)
    try:
        result = verify_golden(manifest, variant, runtime)
    finally:
        runtime.close()
    return f"{result.rows} golden rows right, greatest difference {result.max_abs_difference:.3g}"


def _read_root(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BundleError(f"trusted root {path}: cannot be read: {error.strerror or error}") from error


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _end_with_agent() -> None:
    # Not by sys.stdin: a thread that waits in it at the end of the interpreter is a fatal error.
    while os.read(0, 1):
        pass
    os._exit(EXIT_AGENT_GONE)


@contextlib.contextmanager
def _private_stdout() -> Iterator[int]:
    """Keep stdout for the report alone: what a runtime prints goes to stderr."""
    answer = os.dup(1)
    os.dup2(2, 1)
    try:
        yield answer
    finally:
        os.close(answer)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait until the child of a killed agent, which has the same slot and metadata in its hands, is gone."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
