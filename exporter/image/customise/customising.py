"""Customises an image: a copy is unpacked, looked into, given its files, and takes its place as a whole.

Nothing is built and nothing of the image runs: it does the work itself as it starts for the first time. The user's
image is read only, unless it is to be replaced.
"""

import shutil
import stat
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import Struct

from edge_agent.scoring.selection import Device
from exporter.image.card.accounts import authorized_keys
from exporter.image.card.description import Card
from exporter.image.card.loading import load_card
from exporter.image.customise import cloud_init, first_run
from exporter.image.customise.boot_partition import BootPartition
from exporter.image.customise.errors import CustomiseError
from exporter.image.customise.kernel_line import one_line, replaced, words_of
from exporter.image.customise.network_manager import connections
from exporter.image.customise.package import AgentPackage, choose_package
from exporter.image.customise.payload import APPLY, pack_payload
from exporter.image.customise.system import FoundSystem, Mechanism, find_system
from exporter.image.customise.system_files import hostname_of, system_files
from exporter.image.image_file import ImageFile, inspect_image, open_image

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# What the engine calls Debian's architectures.
_ENGINES: Final = {"arm64": "aarch64", "armhf": "armv6", "amd64": "x86_64"}
_CHUNK_BYTES: Final = 1 << 20
_ZEROS: Final = bytes(_CHUNK_BYTES)
_ZSTD_LEVEL: Final = 3
_PRIVATE: Final = 0o600
# Left free, for what the firmware's own updates need.
_SPARE_BYTES: Final = 16 << 20
# Words of the kernel's command line that somebody else's first run would need.
_RUN: Final = "systemd.run"
_CLUSTER_BYTES: Final = 32 << 10


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an image is to be given.

    Attributes:
        card: path of ``card.toml``.
        device: name of the device, in place of what the files say.
        token: file with its claim token, in place of what the files say.
        packages: of the agent; the one for the image's architecture is taken.
    """

    card: Path
    packages: tuple[AgentPackage, ...]
    device: str | None = None
    token: Path | None = None


class Customised(Struct, frozen=True):
    """What was done.

    Attributes:
        release: what the image says that it is.
        added_bytes: on the boot partition; `free_bytes` are left there.
    """

    image: str
    release: str
    architecture: str
    mechanism: Mechanism
    device: str
    files: tuple[str, ...]
    added_bytes: int
    free_bytes: int


def customise(image: Path, into: Path, wanted: Wanted) -> Customised:
    """Write a customised copy of an image.

    Args:
        image: of Raspberry Pi OS: raw, .zst or .xz.
        into: the copy's file, raw or, where its name says so, .zst; it may be `image` itself.
        wanted: what it is given.

    Raises:
        ImageError: it is no image of a disk, or damaged.
        CardError: what is wanted cannot be on a card.
        CustomiseError: it holds no system that can be customised, or has no room; nothing was written.
    """
    found = inspect_image(image)
    in_place = into.exists() and into.samefile(image)
    if in_place and found.packing != ("zst" if into.suffix == ".zst" else "raw"):
        raise CustomiseError(f"{image} is packed as {found.packing} and cannot be replaced: have a copy written")
    mode = stat.S_IMODE(into.stat().st_mode) if in_place else _PRIVATE
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=f".{into.name}-") as name:
        raw = Path(name) / "card.img"
        _unpack(found, raw)
        done = _customise_raw(raw, image, into, wanted)
        finished = raw
        if into.suffix == ".zst":
            finished = Path(name) / "card.img.zst"
            _pack(raw, finished)
        # It holds what the board is known by.
        finished.chmod(mode)
        finished.replace(into)
    return done


def _customise_raw(raw: Path, image: Path, into: Path, wanted: Wanted) -> Customised:
    system = find_system(raw, image)
    package = choose_package(wanted.packages, system.architecture, str(image))
    board = Device(_ENGINES[system.architecture], ("native",))
    card = load_card(wanted.card, board, device=wanted.device, token=wanted.token)
    boot = system.boot
    files, words = _contents(system, package, card)
    added = sum(-(-len(content) // _CLUSTER_BYTES) * _CLUSTER_BYTES for content in files.values())
    # Of what an earlier customisation left, the room is used again.
    _remove_ours(boot)
    free = boot.free_bytes()
    if free < added + _SPARE_BYTES:
        raise CustomiseError(
            f"{image}: its boot partition has {free >> 20} MiB free, and {(added + _SPARE_BYTES) >> 20} MiB are needed"
        )
    boot.make_folder(first_run.FOLDER)
    for name, content in files.items():
        boot.write(name, content)
    boot.write("cmdline.txt", one_line(words))
    return Customised(
        image=str(into),
        release=system.release,
        architecture=system.architecture,
        mechanism=system.mechanism,
        device=card.settings.device,
        files=(*files, "cmdline.txt"),
        added_bytes=sum(map(len, files.values())),
        free_bytes=boot.free_bytes(),
    )


def _contents(system: FoundSystem, package: AgentPackage, card: Card) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Return the files of the boot partition, and the words of its command line."""
    keys = authorized_keys(card.ssh_keys).decode().splitlines()
    user, hostname = card.system.ssh_user, hostname_of(card)
    more = [*system_files(card)]
    words = words_of(system.boot.read("cmdline.txt"))
    names = system.boot.names()
    if system.mechanism == "firstrun":
        _verify_alone(words, system.boot, names)
        more += connections(card.network)
        script = first_run.first_run_script(user=user, keys=keys, hostname=hostname, has_wifi=bool(card.network.wifi))
        files = {first_run.SCRIPT: script}
        added: Sequence[str] = first_run.WORDS
    else:
        seed = {cloud_init.USER_DATA: cloud_init.user_data(user=user, keys=keys, hostname=hostname)}
        network = cloud_init.network_config(card.network)
        if network is not None:
            tuple(connections(card.network))  # held to the rules of a card
            seed[cloud_init.NETWORK] = network
        _verify_seed(system.boot, names)
        files, added = seed, ()
    files[f"{first_run.FOLDER}/{first_run.APPLY}"] = APPLY.read_bytes()
    files[f"{first_run.FOLDER}/{first_run.PAYLOAD}"] = pack_payload(package, card, more)
    if system.mechanism == "cloud-init":
        files[cloud_init.META_DATA], instance = cloud_init.meta_data(*files.values())
        added = (cloud_init.kernel_word(instance),)
    if card.network.country is not None:
        added = (*added, f"cfg80211.ieee80211_regdom={card.network.country}")
    return files, replaced(words, added)


def _verify_alone(words: Sequence[str], boot: BootPartition, names: frozenset[str]) -> None:
    """Refuse an image that somebody else's first run is in already: systemd runs one."""
    runs = [word for word in words if word.startswith(f"{_RUN}=")]
    if any(word not in first_run.WORDS for word in runs) or (
        first_run.SCRIPT in names and first_run.MARK.encode() not in boot.read(first_run.SCRIPT)
    ):
        raise CustomiseError(
            f"the image has a first run of its own ({first_run.SCRIPT}), as Raspberry Pi Imager writes it: take an "
            "image that was not customised, and say in card.toml what is to be set"
        )


def _verify_seed(boot: BootPartition, names: frozenset[str]) -> None:
    for name in (cloud_init.USER_DATA, cloud_init.NETWORK):
        if name in names and not cloud_init.is_ours(boot.read(name)):
            raise CustomiseError(
                f"the image's {name} says something already, as Raspberry Pi Imager writes it: take an image that was "
                "not customised, and say in card.toml what is to be set"
            )


def _remove_ours(boot: BootPartition) -> None:
    if first_run.FOLDER in boot.names():
        boot.remove(first_run.FOLDER)


def _unpack(image: ImageFile, raw: Path) -> None:
    """Write an image's raw bytes, with holes where there are zeros."""
    with open_image(image) as source, raw.open("wb") as target:
        _copy_sparse(source, target)


def _copy_sparse(source: BinaryIO, target: BinaryIO) -> None:
    size = 0
    while chunk := source.read(_CHUNK_BYTES):
        size += len(chunk)
        if chunk == _ZEROS[: len(chunk)]:
            target.seek(len(chunk), 1)
        else:
            target.write(chunk)
    target.truncate(size)


def _pack(raw: Path, packed: Path) -> None:
    with raw.open("rb") as source, zstd.open(packed, "wb", level=_ZSTD_LEVEL) as target:
        shutil.copyfileobj(source, target, _CHUNK_BYTES)
