"""Starts agents and bare processes, and weighs them: the proportional share (PSS) of ``smaps_rollup``."""

import contextlib
import hashlib
import os
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

import edge_agent.service
from benchmarks.small_bundles import SmallBundle
from broker.client import Endpoint
from edge_agent.bundle import MANIFEST_NAME
from edge_agent.scoring.device import read_device
from edge_agent.scoring.selection import choose_variant
from edge_agent.update.record import Content
from edge_agent.update.slots import SlotStore, empty_slot
from tests.tls_broker import TlsBroker

ROWS_PER_SECOND: Final = 10
REPOSITORY: Final = Path(edge_agent.service.__file__).parents[2]
UNIT: Final = Path(edge_agent.service.__file__).parent / "fieldloop-agent.service"
_ENVIRONMENT: Final = "Environment="
FILE_SINK: Final = 'kind = "json_lines"\npath = "answers.jsonl"\n'
STDOUT_SINK: Final = 'kind = "stdout"\n'
_START: Final = "ExecStart="
_PROGRAM: Final = "/usr/bin/fieldloop-agent"
_BYTECODE: Final = "pycache_prefix="
_START_S: Final = 30.0


def unit_environment() -> dict[str, str]:
    """Return the variables that the service's unit sets: what is weighed is what is started on a device."""
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    texts = (line.removeprefix(_ENVIRONMENT) for line in lines if line.startswith(_ENVIRONMENT))
    return dict(each.split("=", 1) for text in texts for each in shlex.split(text))


def unit_flags(bytecode: Path) -> list[str]:
    """Return the interpreter's flags of the service's unit, but for its isolation, with bytecode in another folder."""
    command = _unit_command()
    flags = command[1 : command.index(_PROGRAM)]
    flags.remove("-I")
    prefix = next(flag for flag in flags if flag.startswith(_BYTECODE))
    return ["-P", *(f"{_BYTECODE}{bytecode}" if flag == prefix else flag for flag in flags)]


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that runs this checkout's agent.

    Attributes:
        program: its path.
        environment: where it finds us and msgspec.
    """

    program: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)


def interpreter_of_the_unit(folder: Path) -> Interpreter:
    """Return Debian's Python, as the service has it, which shares nothing with this process; else the present one.

    Args:
        folder: takes a link to msgspec, which has to be built for the same version.
    """
    program = _unit_command()[0]
    told = "import sys; print(sys.version_info[:2])"
    try:
        version = subprocess.run([program, "-c", told], check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return Interpreter()
    if version != str(sys.version_info[:2]) or Path(program).resolve() == Path(sys.executable).resolve():
        return Interpreter()
    package = Path(msgspec.__file__).parent
    (folder / package.name).symlink_to(package)
    return Interpreter(program, {"PYTHONPATH": os.pathsep.join((str(folder), str(REPOSITORY)))})


def make_bytecode(flags: Sequence[str], interpreter: Interpreter | None = None) -> None:
    """Leave the bytecode that the package makes on a device.

    Args:
        flags: as `unit_flags` gives them.
        interpreter: whose; by default this one's.
    """
    python = interpreter or Interpreter()
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", **python.environment}
    subprocess.run([python.program, *flags, "-m", "edge_agent.service.bytecode"], check=True, env=environment)


def install_bundle(bundle: SmallBundle, state: Path) -> None:
    """Put a bundle into a state folder as one that was committed, so that an agent scores with it from its start."""
    variant = choose_variant(bundle.manifest.variants, read_device())
    store = SlotStore(state)
    empty_slot(store.folder("a"))
    for name in (MANIFEST_NAME, variant.file):
        (store.folder("a") / name).write_bytes((bundle.folder / name).read_bytes())
    digest = hashlib.sha256((bundle.folder / MANIFEST_NAME).read_bytes()).hexdigest()
    store.mark_committed("a", Content(bundle.manifest.ref, variant.name, digest), 1)


def write_settings(
    folder: Path, bundle: SmallBundle, endpoint: Endpoint, *, tls: TlsBroker | None = None, sink: str = FILE_SINK
) -> Path:
    """Write rows and settings of an agent that scores ten rows a second; return the settings' file.

    Args:
        folder: for them.
        bundle: names the columns, and gives the rows.
        endpoint: of its broker.
        tls: names the certificates; None: nothing is encrypted.
        sink: the lines of the section.
    """
    certificates = f'ca = "{tls.ca}"\ncertificate = "{tls.certificate}"\nkey = "{tls.key}"\n' if tls is not None else ""
    names = [feature.name for feature in bundle.manifest.features]
    lines = [",".join(names), *(",".join(map(repr, row)) for row in bundle.rows.tolist())]
    (folder / "rows.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "root.json").write_text("{}", encoding="utf-8")
    path = folder / "agent.toml"
    path.write_text(
        f"""
device = "bench"
fleet = "bench"
state = "state"
[broker]
host = "{endpoint.host}"
port = {endpoint.port}
{certificates}[repository]
url = "http://127.0.0.1:1/"
root = "root.json"
model = "{bundle.manifest.name}"
[source]
kind = "csv"
path = "rows.csv"
rows_per_second = {ROWS_PER_SECOND}
[sink]
{sink}""",
        encoding="utf-8",
    )
    return path


@contextlib.contextmanager
def process(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], interpreter: Interpreter | None = None
) -> Iterator[int]:
    """Run a Python process, by default of this environment, while the context lasts; give its id."""
    python = interpreter or Interpreter()
    variables = {**os.environ, **python.environment, **environment}
    with (folder / "process.log").open("ab") as log:
        child = subprocess.Popen([python.program, *arguments], cwd=folder, stdout=log, stderr=log, env=variables)
        try:
            yield child.pid
            if child.poll() is not None:
                raise RuntimeError(f"the process ended with {child.returncode}: {(folder / 'process.log').read_text()}")
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def wait_for_lines(path: Path, n_lines: int) -> None:
    """Wait until a file has some lines: the process behind it scores."""
    ends_s = time.monotonic() + _START_S
    while not path.exists() or path.read_bytes().count(b"\n") < n_lines:
        if time.monotonic() > ends_s:
            raise RuntimeError(f"{path}: fewer than {n_lines} lines after {_START_S:g} s")
        time.sleep(0.1)


def pss_bytes(pid: int) -> int:
    """Return the memory of a process, what it shares counted in part."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * 1024


def median_pss_bytes(pid: int, *, samples: int, pause_s: float) -> float:
    """Return the median of some samples."""
    taken = []
    for _ in range(samples):
        time.sleep(pause_s)
        taken.append(pss_bytes(pid))
    return statistics.median(taken)


def _unit_command() -> list[str]:
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    line = next(line for line in lines if line.startswith(_START))
    return shlex.split(line.removeprefix(_START))
