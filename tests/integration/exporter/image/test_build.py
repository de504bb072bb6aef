"""Whole images, built by the command; roots and Debian are kept beside those of other tests, outside of the project."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from exporter.image.block_map import BlockMap, load_block_map
from exporter.image.build.boards import BOARDS, Board
from exporter.image.image_file import inspect_image, open_image
from tests.unit.exporter.image.card.cards import AGENT, write_card

PATH: Final = f"{os.environ['PATH']}:/usr/sbin:/sbin"
TOOLS: Final = ("arch-test", "debugfs", "depmod", "e2fsck", "mcopy", "mkfs.vfat", "mmdebstrap", "sfdisk")
SECTOR: Final = 512

pytestmark = [
    pytest.mark.slow,
    # Where no Debian was kept, it is made, emulated: minutes, and more on a machine with other work.
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.geteuid() != 0, reason="without root it takes /etc/subuid, which a test cannot ask for"),
    pytest.mark.skipif(
        any(shutil.which(tool, path=PATH) is None for tool in TOOLS), reason=f"needs {', '.join(TOOLS)}"
    ),
]


def run(*command: object, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": PATH, **options.pop("environment", {})}
    return subprocess.run(
        [str(part) for part in command], text=True, capture_output=True, check=False, env=environment, **options
    )


def build(folder: Path, *options: object, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "trainer.cli", "image", "build", "--card", folder / "card.toml"]
    return run(*command, "--agent-package", folder / "agent.deb", *options, **more)


class Image:
    """One that was built, taken apart again."""

    def __init__(self, path: Path, told: dict[str, Any], scratch: Path) -> None:
        self.path, self.told, self.scratch = path, told, scratch
        table = json.loads(run("sfdisk", "--json", path).stdout)["partitiontable"]
        self.partitions = [
            (each["start"] * SECTOR, each["size"] * SECTOR, each["type"]) for each in table["partitions"]
        ]

    def file_system(self, number: int) -> Path:
        """Return the file of a partition: 0 boot, 1 root, 2 data."""
        place = self.scratch / f"{self.path.stem}.{number}"
        if not place.exists():
            start, size, _ = self.partitions[number]
            command = ["dd", f"if={self.path}", f"of={place}", "bs=1M", "conv=sparse", "status=none"]
            run(*command, f"skip={start >> 20}", f"count={size >> 20}").check_returncode()
        return place

    def boot(self, name: str) -> bytes:
        """Return a file of the boot partition."""
        done = subprocess.run(
            ["mtype", "-i", str(self.file_system(0)), f"::/{name}"], capture_output=True, check=True, env={"PATH": PATH}
        )
        return done.stdout

    def read(self, number: int, path: str) -> str:
        """Return a file of another partition."""
        return run("debugfs", "-R", f"cat {path}", self.file_system(number)).stdout

    def about(self, number: int, path: str) -> str:
        """Return what debugfs says of a file."""
        return run("debugfs", "-R", f"stat {path}", self.file_system(number)).stdout

    def digests(self) -> list[str]:
        """Return the digest of each partition."""
        return [hashlib.sha256(self.file_system(number).read_bytes()).hexdigest() for number in range(3)]

    def remove(self) -> None:
        """Give its space back."""
        for number in range(3):
            self.file_system(number).unlink()
        self.path.unlink()

    def block_map(self) -> BlockMap:
        """Return its block map."""
        return load_block_map(Path(self.told["block_map"]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A card, and the agent's package; not the checkout, so that nothing of it is found by chance."""
    made = tmp_path_factory.mktemp("card")
    write_card(made, AGENT)
    repository = Path(__file__).parents[4]
    command = [sys.executable, "-m", "scripts.deb.build", "arm64", "--into", made / "deb", "--version", "0.0.1"]
    done = run(*command, cwd=repository, environment={"SOURCE_DATE_EPOCH": "1700000000"})
    if done.returncode:
        pytest.skip(f"no package of the agent: {done.stderr[-300:]}")
    next((made / "deb").glob("*.deb")).rename(made / "agent.deb")
    return made


def built(folder: Path, name: str, *options: object, board: str = "pi3") -> Image:
    done = build(folder, "--board", board, "--out", folder / f"{name}.img", "--json", *options)
    if done.returncode and "does not run programs for arm64" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    scratch = folder / "parts"
    scratch.mkdir(exist_ok=True)
    return Image(folder / f"{name}.img", json.loads(done.stdout), scratch)


@pytest.fixture(scope="module")
def image(folder: Path) -> Image:
    """The first one: makes the root where nobody did before."""
    return built(folder, "first", "--device", "press-1", "--zst")


def test_an_image_has_three_sound_file_systems_on_boundaries_of_4_mib(image: Image):
    assert [kind for _, _, kind in image.partitions] == ["c", "83", "83"]
    assert all(start % (4 << 20) == 0 for start, _, _ in image.partitions)
    assert image.path.stat().st_size == image.told["image_bytes"]
    for number in (1, 2):
        done = run("e2fsck", "-f", "-n", image.file_system(number))
        assert done.returncode == 0, done.stdout
    assert run("dosfsck", "-n", image.file_system(0)).returncode == 0


def test_the_boot_partition_starts_the_board(image: Image):
    assert image.boot("vmlinuz")[56:60] == b"ARM\x64"
    assert image.boot("initrd.img")[:2] == b"\x1f\x8b"
    assert image.boot("bcm2837-rpi-3-b.dtb")[:4] == b"\xd0\x0d\xfe\xed"
    assert len(image.boot("start.elf")) > 1 << 20
    assert b"kernel=vmlinuz" in image.boot("config.txt")
    line = image.boot("cmdline.txt").decode()
    assert line.count("\n") == 1
    assert "root=LABEL=fieldloop-root" in line


def test_the_root_holds_the_agent_and_nothing_of_the_machine_that_built_it(image: Image):
    assert "fieldloop-agent" in image.read(1, "/var/lib/dpkg/status")
    assert "Mode:  0755" in image.about(1, "/usr/bin/fieldloop-agent")
    assert "/usr/bin/python3" in image.read(1, "/usr/lib/fieldloop/bytecode/made-for")
    assert "fieldloop:" in image.read(1, "/etc/passwd")
    assert "LABEL=fieldloop-data" in image.read(1, "/etc/fstab")
    assert image.read(1, "/etc/machine-id") == ""
    listed = run("debugfs", "-R", "ls -p /", image.file_system(1)).stdout
    assert "fieldloop-board" not in listed
    kernel = image.told["kernel"]
    assert "ext4.ko" in image.read(1, f"/usr/lib/modules/{kernel}/modules.dep")
    assert "nouveau" not in image.read(1, f"/usr/lib/modules/{kernel}/modules.dep")
    assert "Inode: " not in image.about(1, "/boot/vmlinuz")
    hidden = [line for line in image.read(1, "/etc/shadow").splitlines() if line.split(":")[1] not in {"*", "!", "!*"}]
    assert hidden == []


def test_the_data_partition_holds_the_card_as_roots(image: Image):
    assert 'device = "press-1"' in image.read(2, "/card/fieldloop/agent.toml")
    about = image.about(2, "/card/fieldloop/agent.toml")
    assert "User:     0   Group:     0" in about


def test_the_block_map_covers_all_that_anything_reads(image: Image, folder: Path):
    blocks = image.block_map()
    assert blocks.mapped_bytes == image.told["mapped_bytes"]
    content = image.path.read_bytes()
    rebuilt = bytearray(b"\xa5" * len(content))
    for each in blocks.ranges:
        assert hashlib.sha256(content[each.start : each.end]).hexdigest() == each.sha256
        rebuilt[each.start : each.end] = content[each.start : each.end]
    (folder / "mapped.img").write_bytes(rebuilt)
    mapped = Image(folder / "mapped.img", image.told, image.scratch)
    for number in (1, 2):
        assert run("e2fsck", "-f", "-n", mapped.file_system(number)).returncode == 0
    assert mapped.boot("vmlinuz") == image.boot("vmlinuz")


def test_the_packed_image_is_the_raw_one(image: Image):
    with open_image(inspect_image(Path(image.told["packed"]))) as unpacked:
        assert unpacked.read() == image.path.read_bytes()
    assert image.told["packed_bytes"] <= 150_000_000


def test_it_is_flashed_by_its_block_map(image: Image, folder: Path):
    card = folder / "flashed"
    done = run(
        sys.executable, "-P", "-m", "trainer.cli", "image", "flash", image.told["packed"], card, "--yes", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["unmapped_bytes"] > 0
    assert card.read_bytes()[: 4 << 20] == image.path.read_bytes()[: 4 << 20]


def test_the_list_of_packages_names_what_was_installed_and_what_was_unpacked(image: Image):
    document = json.loads(Path(image.told["sbom"]).read_text())
    names = {package["name"] for package in document["packages"]}
    assert {"fieldloop-agent", "python3", "systemd", "raspi-firmware", "busybox-static"} <= names
    assert any(name.startswith("linux-image-") for name in names)
    assert "Codename: bookworm" in document["comment"]


def test_the_same_card_gives_the_same_bytes(image: Image, folder: Path):
    again = built(folder, "again", "--device", "press-1")
    assert again.path.read_bytes() == image.path.read_bytes()
    assert again.told["root_was_kept"]


def test_another_identity_changes_the_small_partitions_alone(image: Image, folder: Path):
    other = built(folder, "other", "--device", "press-2")
    assert other.told["root_was_kept"]
    assert other.digests()[1] == image.digests()[1]
    assert other.digests()[2] != image.digests()[2]
    assert 'device = "press-2"' in other.read(2, "/card/fieldloop/agent.toml")


@pytest.mark.parametrize("board", [each for each in BOARDS.values() if "bookworm" in each.suites], ids=lambda b: b.name)
def test_every_board_has_its_device_trees_and_firmware_from_the_one_root(board: Board, image: Image, folder: Path):
    other = built(folder, board.name, "--device", "press-1", board=board.name)
    try:
        assert other.told["root_was_kept"]
        assert other.told["board"] == board.title
        assert other.digests()[1:] == image.digests()[1:]
        listed = run("mdir", "-b", "-i", other.file_system(0), "::/").stdout.split()
        trees = {f"{name}.dtb" for name in board.trees}
        rest = {"vmlinuz", "initrd.img", "config.txt", "cmdline.txt", *board.firmware}
        assert {name.removeprefix("::/") for name in listed} >= trees | rest
        assert {name.removeprefix("::/") for name in listed if name.endswith(".dtb")} == trees
        for tree in trees:
            assert other.boot(tree)[:4] == b"\xd0\x0d\xfe\xed"
        config = other.boot("config.txt").decode().splitlines()
        assert {"arm_64bit=1", "kernel=vmlinuz", "initramfs initrd.img followkernel"} <= set(config)
        assert "root=LABEL=fieldloop-root" in other.boot("cmdline.txt").decode().split()
        assert other.boot("vmlinuz") == image.boot("vmlinuz")
    finally:
        other.remove()


def test_a_board_that_the_suite_does_not_know_is_refused_before_anything_is_made(folder: Path):
    done = build(folder, "--board", "pi5", "--out", folder / "pi5.img")
    assert done.returncode == 15
    assert "--suite trixie" in done.stderr


def test_without_a_package_of_the_agent_it_says_how_to_come_by_one(folder: Path):
    done = build(folder, "--board", "pi3", "--agent-package", folder / "none.deb")
    assert done.returncode == 15
    assert "none.deb: no such file" in done.stderr
