"""Tests of exporter.image.customise.customising on an image of our own (tests/raspberry_image.py)."""

import hashlib
import lzma
import tarfile
from io import BytesIO
from pathlib import Path

import pytest
from backports import zstd

from exporter.image.customise.boot_partition import BootPartition
from exporter.image.customise.customising import Wanted, customise
from exporter.image.customise.errors import CustomiseError
from exporter.image.customise.package import load_package
from exporter.image.customise.system import find_system
from tests.cards import UserFiles, make_user_files
from tests.raspberry_image import LINES, Layout, boot_partition, make_image
from tests.unit.exporter.image.customise.test_package import write_package

WORDS = (
    " systemd.run=/boot/firmware/firstrun.sh systemd.run_success_action=reboot systemd.unit=kernel-command-line.target"
)


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> UserFiles:
    """What a user has; no test changes it."""
    return make_user_files(tmp_path_factory.mktemp("user"))


@pytest.fixture(scope="module")
def bookworm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image; no test changes it."""
    return make_image(tmp_path_factory.mktemp("bookworm"))


@pytest.fixture(scope="module")
def trixie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image that has cloud-init; no test changes it."""
    return make_image(tmp_path_factory.mktemp("trixie"), Layout("trixie", "armhf"))


@pytest.fixture
def wanted(user: UserFiles, tmp_path: Path) -> Wanted:
    """What an image is given: packages of both architectures, which are not installed here."""
    packages = (load_package(write_package(tmp_path, "arm64")), load_package(write_package(tmp_path, "armhf")))
    return Wanted(user.card, packages)


def payload_of(boot: BootPartition) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=BytesIO(boot.read("fieldloop/payload.tar"))) as tar:
        return {member.name: member for member in tar.getmembers()}


def test_bookworm_is_told_by_its_command_line_and_the_image_itself_stays(
    bookworm: Path, wanted: Wanted, tmp_path: Path
):
    before = hashlib.sha256(bookworm.read_bytes()).digest()
    done = customise(bookworm, tmp_path / "card.img", wanted)
    assert (done.mechanism, done.architecture, done.device) == ("firstrun", "arm64", "press-1")
    assert hashlib.sha256(bookworm.read_bytes()).digest() == before
    boot = boot_partition(tmp_path / "card.img")
    assert boot.read("cmdline.txt").decode() == f"{LINES['bookworm']}{WORDS}\n"
    assert boot.names() == {"cmdline.txt", "config.txt", "issue.txt", "firstrun.sh", "fieldloop"}
    assert boot.read("fieldloop/apply.sh").startswith(b"#!/bin/sh\n")
    packed = payload_of(boot)
    assert packed["settings/etc/fieldloop/agent.toml"].mode == 0o644
    assert packed["settings/etc/sudoers.d/fieldloop"].mode == 0o440
    assert {"fieldloop-agent.deb", "bundle/var/lib/fieldloop/update.json"} <= set(packed)


def test_nothing_else_of_the_image_is_changed(bookworm: Path, wanted: Wanted, tmp_path: Path):
    customise(bookworm, tmp_path / "card.img", wanted)
    old, new = bookworm.read_bytes(), (tmp_path / "card.img").read_bytes()
    start = boot_partition(bookworm).partition.start_bytes
    end = start + boot_partition(bookworm).partition.size_bytes
    assert len(old) == len(new)
    assert (old[:start], old[end:]) == (new[:start], new[end:])


def test_the_copy_is_for_its_owner_alone_for_it_holds_what_the_board_is_known_by(
    bookworm: Path, wanted: Wanted, tmp_path: Path
):
    customise(bookworm, tmp_path / "card.img", wanted)
    assert (tmp_path / "card.img").stat().st_mode & 0o777 == 0o600


def test_twice_is_once(bookworm: Path, trixie: Path, wanted: Wanted, tmp_path: Path):
    for image in (bookworm, trixie):
        once, twice = tmp_path / "once.img", tmp_path / "twice.img"
        done = customise(image, once, wanted)
        again = customise(once, twice, wanted)
        boots = boot_partition(once), boot_partition(twice)
        for name in done.files:
            assert boots[0].read(name) == boots[1].read(name)
        assert boots[0].names() == boots[1].names()
        assert again.free_bytes == done.free_bytes


def test_trixie_is_told_by_cloud_init(trixie: Path, wanted: Wanted, tmp_path: Path):
    done = customise(trixie, tmp_path / "card.img", wanted)
    assert (done.mechanism, done.architecture) == ("cloud-init", "armhf")
    boot = boot_partition(tmp_path / "card.img")
    instance = boot.read("meta-data").decode().split("instance-id: ")[1].strip()
    assert boot.read("cmdline.txt").decode() == f"{LINES['trixie']} ds=nocloud;i={instance}\n"
    assert b'hostname: "press-1"' in boot.read("user-data")
    # By cable and DHCP: the image's own stays.
    assert boot.read("network-config") == b"# Comments alone.\n#network:\n"


@pytest.mark.parametrize("packing", ["xz", "zst"])
def test_packed_images_are_read_and_a_copy_is_raw_or_zst(bookworm: Path, wanted: Wanted, tmp_path: Path, packing: str):
    pack = {"xz": lambda raw: lzma.compress(raw, preset=0), "zst": lambda raw: zstd.compress(raw, 1)}[packing]
    packed = tmp_path / f"raspios.img.{packing}"
    packed.write_bytes(pack(bookworm.read_bytes()))
    customise(packed, tmp_path / "card.img.zst", wanted)
    (tmp_path / "card.img").write_bytes(zstd.decompress((tmp_path / "card.img.zst").read_bytes()))
    assert "firstrun.sh" in boot_partition(tmp_path / "card.img").names()


def test_in_place_the_whole_image_is_replaced_and_keeps_its_mode(bookworm: Path, wanted: Wanted, tmp_path: Path):
    image = tmp_path / "raspios.img"
    image.write_bytes(bookworm.read_bytes())
    image.chmod(0o640)
    customise(image, image, wanted)
    assert "firstrun.sh" in boot_partition(image).names()
    assert image.stat().st_mode & 0o777 == 0o640


def test_what_cannot_be_replaced_by_its_own_kind_is_not(bookworm: Path, wanted: Wanted, tmp_path: Path):
    image = tmp_path / "raspios.img"
    image.write_bytes(zstd.compress(bookworm.read_bytes(), 1))
    before = image.read_bytes()
    with pytest.raises(CustomiseError, match="have a copy written"):
        customise(image, image, wanted)
    assert image.read_bytes() == before


def test_a_first_run_of_somebody_else_is_not_lost(bookworm: Path, wanted: Wanted, tmp_path: Path):
    image = tmp_path / "raspios.img"
    image.write_bytes(bookworm.read_bytes())
    boot_partition(image).write("firstrun.sh", b"#!/bin/sh\nexit 0\n")
    refused(image, wanted, tmp_path, "has a first run of its own")
    boot_partition(image).remove("firstrun.sh")
    boot_partition(image).write("cmdline.txt", b"quiet systemd.run=/boot/firstrun.sh\n")
    refused(image, wanted, tmp_path, "has a first run of its own")


def test_a_seed_of_somebody_else_is_not_lost(trixie: Path, wanted: Wanted, tmp_path: Path):
    image = tmp_path / "raspios.img"
    image.write_bytes(trixie.read_bytes())
    boot_partition(image).write("user-data", b"#cloud-config\nhostname: mine\n")
    refused(image, wanted, tmp_path, "user-data says something already")


def test_a_boot_partition_without_room_is_refused_before_anything_is_written(wanted: Wanted, tmp_path: Path):
    image = make_image(tmp_path, Layout(boot_bytes=40 << 20))
    boot = boot_partition(image)
    boot.write("kernel8.img", bytes(boot.free_bytes() - (10 << 20)))
    refused(image, wanted, tmp_path, "its boot partition has 1[01] MiB free, and 1[67] MiB are needed")


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (Layout("bullseye"), "holds bullseye; what can be customised is Raspberry Pi OS of bookworm and trixie"),
        (Layout(architecture="riscv64"), "neither for arm64 nor for armhf"),
        (Layout(architecture="amd64"), "is amd64, and there is no package for it"),
    ],
)
def test_a_system_that_the_agent_is_not_for_is_refused(wanted: Wanted, tmp_path: Path, layout: Layout, words: str):
    refused(make_image(tmp_path, layout), wanted, tmp_path, words)


def test_an_image_without_a_command_line_is_none_of_a_raspberry_pi(bookworm: Path, wanted: Wanted, tmp_path: Path):
    image = tmp_path / "raspios.img"
    image.write_bytes(bookworm.read_bytes())
    boot_partition(image).remove("cmdline.txt")
    refused(image, wanted, tmp_path, r"there is no cmdline\.txt")


def test_what_takes_an_image_of_ours_is_refused(bookworm: Path, wanted: Wanted, user: UserFiles, tmp_path: Path):
    card = user.folder / "updates.toml"
    card.write_text('agent = "agent.toml"\n[system]\nsecurity_updates = true\n')
    refused(bookworm, Wanted(card, wanted.packages), tmp_path, "security_updates")


def test_the_free_room_is_what_mtools_counts(bookworm: Path):
    boot = find_system(bookworm, bookworm).boot
    listed = boot._run("mdir", "::/").decode()
    assert boot.free_bytes() == int(listed.split("bytes free")[0].splitlines()[-1].replace(" ", ""))


def refused(image: Path, wanted: Wanted, folder: Path, words: str) -> None:
    """Check that an image is refused, and nothing left."""
    before = image.read_bytes()
    with pytest.raises(CustomiseError, match=words):
        customise(image, folder / "refused.img", wanted)
    assert image.read_bytes() == before
    assert not [path for path in folder.iterdir() if "refused" in path.name]
