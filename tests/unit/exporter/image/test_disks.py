import json

import pytest

from exporter.image.disks import Disk, list_disks, parse_disks, refusal_of
from exporter.image.errors import DiskError

CARD = Disk("/dev/sdb", 32_000_000_000, "Generic SD", "usb", removable=True)


def replaced(**changes: object) -> Disk:
    return Disk(**{**{field: getattr(CARD, field) for field in CARD.__struct_fields__}, **changes})


def test_a_card_that_is_large_enough_is_taken():
    assert refusal_of(CARD, 2_000_000_000, allow_fixed=False) is None
    assert refusal_of(CARD, None, allow_fixed=False) is None
    assert refusal_of(CARD, CARD.size_bytes, allow_fixed=False) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mounted": ("/",)}, "holds this machine's /"),
        ({"mounted": ("/boot/firmware",)}, "holds this machine's"),
        ({"mounted": ("[SWAP]",)}, "holds this machine's"),
        ({"mounted": ("/media/me/bootfs", "/media/me/rootfs")}, "umount /media/me/bootfs /media/me/rootfs"),
        ({"part_of": ("lvm",)}, r"part of a volume \(lvm\)"),
        ({"size_bytes": 0}, "no medium"),
        ({"read_only": True}, "lock switch"),
        ({"size_bytes": 1_000_000_000}, r"too small: 1\.0 GB, the image has 2\.0 GB"),
    ],
)
def test_a_disk_is_refused_with_its_reason_whoever_insists(changes: dict[str, object], reason: str):
    told = refusal_of(replaced(**changes), 2_000_000_000, allow_fixed=True)
    assert told is not None
    with pytest.raises(DiskError, match=reason):
        raise DiskError(told)


def test_a_disk_that_cannot_be_taken_out_needs_insistence():
    fixed = replaced(removable=False)
    assert "--allow-fixed-disk" in str(refusal_of(fixed, None, allow_fixed=False))
    assert refusal_of(fixed, None, allow_fixed=True) is None


def node(path: str, kind: str, **more: object) -> dict[str, object]:
    base = {"path": path, "type": kind, "size": 1000, "model": None, "vendor": None, "tran": None}
    return {**base, "rm": False, "hotplug": False, "ro": False, "mountpoints": [None], **more}


def told(*nodes: dict[str, object]) -> bytes:
    return json.dumps({"blockdevices": nodes}).encode()


def test_what_lies_on_a_disk_counts_as_its_own():
    root = node("/dev/mapper/root", "crypt", mountpoints=["/"])
    inner = node("/dev/sda2", "part", children=[root])
    boot = node("/dev/sda1", "part", mountpoints=["/boot", None])
    (disk,) = parse_disks(told(node("/dev/sda", "disk", children=[boot, inner], model="Samsung ", vendor=" ATA")))
    assert disk.mounted == ("/boot", "/")
    assert disk.part_of == ("crypt",)
    assert disk.is_system
    assert disk.model == "ATA Samsung"


def test_a_built_in_reader_is_removable_by_its_bus():
    (disk,) = parse_disks(told(node("/dev/mmcblk0", "disk", hotplug=True, tran="mmc")))
    assert disk.removable


def test_only_whole_disks_are_listed():
    assert parse_disks(told(node("/dev/sr0", "rom"), node("/dev/loop0", "loop")))[0].path == "/dev/loop0"


@pytest.mark.parametrize("text", [b"", b"{}", b'{"blockdevices": [{}]}', b'{"blockdevices": 3}'])
def test_what_lsblk_never_writes_is_refused(text: bytes):
    with pytest.raises(DiskError, match=r"util-linux 2\.37"):
        parse_disks(text)


def test_this_machines_own_disk_is_never_offered():
    held = [disk for disk in list_disks() if "/" in disk.mounted]
    for disk in held:
        assert "never written to" in str(refusal_of(disk, None, allow_fixed=True))
