"""Builds an image from what a user says: finds board, runtime, agent and card, and says what each step took."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec import Struct

from edge_agent.clock import Clock
from edge_agent.durable import replace_file
from edge_agent.scoring.selection import Device
from exporter.image.build.boards import PYTHON_MINORS, Architecture, Suite, find_board
from exporter.image.build.debian import Debian, mirrors_here
from exporter.image.build.image import write_image
from exporter.image.build.kept import Kept
from exporter.image.build.root_partition import OnStep, RootWanted, make_root_partition
from exporter.image.build.runtimes import Runtime, find_runtime
from exporter.image.build.sbom import spdx_document
from exporter.image.build.tools import run_tool
from exporter.image.card.files import (
    ROOT_FOLDERS,
    ROOT_REMOVED,
    Card,
    System,
    card_links,
    root_commands,
    root_packages,
)
from exporter.image.card.loading import load_card
from exporter.image.card.root_files import root_files
from exporter.image.errors import BuildError
from exporter.proof.emulated import roots_folder

# Where `make deb` puts it.
_PACKAGES: Final = Path("build") / "deb"
_BELOW: Final = re.compile(r"python3 \(<< 3\.(\d+)\)")
# In place of a mirror's address.
NO_MIRROR: Final = "none"
_MACHINES: Final[Mapping[Architecture, str]] = {"arm64": "aarch64", "armhf": "armv7"}


class BuildOptions(Struct, frozen=True):
    """What a user says.

    Attributes:
        board: its name in `BOARDS`.
        card: ``card.toml``.
        device: in place of what the card's files say.
        claim: file of a claim token, in place of what the card's files say.
        runtime: beside the native engine.
        package: the Debian package of the agent; None: the one that `make deb` made here.
        mirror: of Debian; None: that of this machine's apt.
        security_mirror: of Debian's security updates; None: that of this machine's apt; `NO_MIRROR`: leave
            these and all other updates out.
        anew: take Debian's packages as they are today.
    """

    board: str
    card: Path
    image: Path
    device: str | None = None
    claim: Path | None = None
    architecture: Architecture = "arm64"
    suite: Suite = "bookworm"
    runtime: str | None = None
    package: Path | None = None
    mirror: str | None = None
    security_mirror: str | None = None
    is_packed: bool = False
    anew: bool = False


class Built(Struct, frozen=True):
    """What was built.

    Attributes:
        imager_tag: the board's name for ``fieldloop image imager-list``.
        image_bytes: of the raw image; what of it is mapped, and what it takes packed.
        root_was_kept: nothing but the card was new.
        seconds: that it took.
    """

    image: str
    packed: str | None
    block_map: str
    sbom: str
    board: str
    device: str
    imager_tag: str
    suite: str
    kernel: str
    snapshot: tuple[str, ...]
    root: str
    image_bytes: int
    mapped_bytes: int
    packed_bytes: int | None
    root_was_kept: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a build takes from its process.

    Attributes:
        environment: variables.
        clock: tells the time, and measures.
        on_step: told of every step.
    """

    environment: Mapping[str, str]
    clock: Clock
    on_step: OnStep


def build_image(options: BuildOptions, around: Surroundings) -> Built:
    """Build an image.

    Raises:
        BuildError: a tool, a package or a file is missing, or a step failed.
        CardError: something cannot be on a card.
    """
    began_s = around.clock.monotonic_s()
    board = find_board(options.board, options.architecture, options.suite)
    runtime = None
    if options.runtime is not None:
        runtime = find_runtime(options.runtime, options.architecture, options.suite)
    package = find_package(options.package, options.architecture)
    verify_python(package, options.architecture, options.suite)
    if options.image.suffix != ".img":
        raise BuildError(f"{options.image}: an image's name ends with .img; its block map and SBOM lie beside it")
    options.image.parent.mkdir(parents=True, exist_ok=True)
    card = _card(options, runtime)
    now_s = around.clock.utc_s()
    wanted = root_wanted(card.system, options, runtime, package, epoch_of(around.environment, now_s))
    with Kept(roots_folder(around.environment) / "image", now_s) as cache:
        root = make_root_partition(wanted, cache, now_s, around.on_step, anew=options.anew)
        written = write_image(
            card, board, options.architecture, root, options.image, around.on_step, is_packed=options.is_packed
        )
    sbom = options.image.with_suffix(".spdx.json")
    about = root.about
    replace_file(sbom, spdx_document(options.image.stem, options.suite, about.components, about.snapshot, about.time_s))
    return Built(
        image=str(written.image),
        packed=None if written.packed is None else str(written.packed),
        block_map=str(written.block_map),
        sbom=str(sbom),
        board=board.title,
        device=card.settings.device,
        imager_tag=board.imager_tag,
        suite=options.suite,
        kernel=about.kernel_version,
        snapshot=about.snapshot,
        root=about.key,
        image_bytes=written.layout.image_bytes,
        mapped_bytes=written.mapped_bytes,
        packed_bytes=None if written.packed is None else written.packed.stat().st_size,
        root_was_kept=not root.is_new,
        seconds=round(around.clock.monotonic_s() - began_s, 1),
    )


def root_wanted(
    system: System, options: BuildOptions, runtime: Runtime | None, package: Path, time_s: int | None
) -> RootWanted:
    """Return the root partition that a system needs.

    Args:
        system: which.
        options: say which Debian, and whence.
        runtime: beside the native engine.
        package: the Debian package of the agent.
        time_s: of ``SOURCE_DATE_EPOCH``.

    Raises:
        BuildError: this machine's apt knows no mirror, or a board is to update itself from none.
    """
    mirrors = _mirrors(options, is_updated=system.security_updates)
    packages = (*root_packages(system), *(runtime.packages if runtime else ()))
    files = tuple(sorted(root_files(system), key=lambda file: file.path))
    return RootWanted(
        Debian(options.architecture, options.suite, tuple(sorted(packages)), mirrors, time_s),
        package,
        runtime,
        files,
        card_links(system),
        root_commands(system),
        ROOT_REMOVED,
        tuple(map(str, ROOT_FOLDERS)),
        system.security_updates,
    )


def find_package(named: Path | None, architecture: Architecture) -> Path:
    """Return the Debian package of the agent: the one that was named, else the newest that `make deb` made here.

    Raises:
        BuildError: there is none.
    """
    if named is not None:
        if not named.is_file():
            raise BuildError(f"--agent-package {named}: no such file")
        return named
    found = sorted(_PACKAGES.glob(f"fieldloop-agent_*_{architecture}.deb"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise BuildError(
            f"the Debian package of the agent for {architecture} is missing: in a checkout of Fieldloop, "
            f"make deb ARGS={architecture} writes it to {_PACKAGES}; then run this there, or give --agent-package FILE"
        )
    return found[-1]


def verify_python(package: Path, architecture: Architecture, suite: Suite) -> None:
    """Check that the agent's package has libraries for the suite's Python, before a Debian is made for it.

    For 32 bits they are compiled for the one Python of the machine that the package was made on.

    Raises:
        BuildError: it has none, or is no package.
    """
    told = run_tool(["dpkg-deb", "--field", str(package), "Depends"], time_s=0).decode()
    bound = _BELOW.search(told)
    if bound is not None and PYTHON_MINORS[suite] >= int(bound[1]):
        python = f"3.{PYTHON_MINORS[suite]}"
        raise BuildError(
            f"{package} is for Python before 3.{bound[1]}, and {suite} has {python}: on a machine with that, "
            f"make deb ARGS={architecture} PYTHON=python{python} makes one for it; give that as --agent-package"
        )


def epoch_of(environment: Mapping[str, str], now_s: float) -> int | None:
    """Return what ``SOURCE_DATE_EPOCH`` says (https://reproducible-builds.org/specs/source-date-epoch/).

    Raises:
        BuildError: it is no number, or still to come: what is written while an image is made would keep its time.
    """
    named = environment.get("SOURCE_DATE_EPOCH")
    if named is None:
        return None
    if not named.isdecimal() or not named.isascii():
        raise BuildError(f"SOURCE_DATE_EPOCH is {named!r}; it is whole seconds since 1970")
    if int(named) > now_s:
        raise BuildError(
            f"SOURCE_DATE_EPOCH is {named}, which is still to come: two builds with it would not give the same bytes; "
            f"it is {int(now_s)} now"
        )
    return int(named)


def _mirrors(options: BuildOptions, *, is_updated: bool) -> tuple[str, str | None]:
    main, security = options.mirror, options.security_mirror
    if main is None or security is None:
        here = mirrors_here(options.suite)
        main, security = main or here[0], security or here[1]
    if security != NO_MIRROR:
        return main, security
    if is_updated:
        raise BuildError(
            "the card's system.security_updates has the board install security updates: it takes their mirror, "
            f"--security-mirror {NO_MIRROR} leaves it out"
        )
    return main, None


def _card(options: BuildOptions, runtime: Runtime | None) -> Card:
    runtimes = ("native",) if runtime is None else ("native", runtime.runs)
    board = Device(_MACHINES[options.architecture], runtimes)
    return load_card(options.card, board, device=options.device, token=options.claim)
