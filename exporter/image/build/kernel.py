"""The kernel's modules: which of them a board has any use for, and in what order those of a start are loaded.

Debian's kernel carries drivers for servers, laptops and phones: nine tenths of its bytes find nothing on a board.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from exporter.image.errors import BuildError

# Folders and modules below kernel/, by the start of their paths; the longest that fits decides.
_DROPPED: Final = (
    "drivers/accessibility", "drivers/accel", "drivers/ata", "drivers/atm", "drivers/bus/fsl-mc", "drivers/bus/mhi",
    "drivers/cdx", "drivers/comedi", "drivers/crypto", "drivers/cxl", "drivers/dax", "drivers/dpll", "drivers/edac",
    "drivers/extcon", "drivers/firewire", "drivers/firmware", "drivers/fpga", "drivers/gnss", "drivers/gpu",
    "drivers/greybus", "drivers/hwtracing", "drivers/infiniband", "drivers/interconnect", "drivers/iommu",
    "drivers/isdn", "drivers/macintosh", "drivers/md", "drivers/media", "drivers/memstick", "drivers/message",
    "drivers/misc", "drivers/most", "drivers/mtd", "drivers/net/can/m_can", "drivers/net/ethernet", "drivers/net/fddi",
    "drivers/net/hyperv", "drivers/net/ipa", "drivers/net/wireless", "drivers/net/wwan", "drivers/ntb",
    "drivers/nvdimm", "drivers/nvme", "drivers/parport", "drivers/pcmcia", "drivers/perf", "drivers/platform",
    "drivers/rapidio", "drivers/remoteproc", "drivers/rpmsg", "drivers/s390", "drivers/scsi", "drivers/slimbus",
    "drivers/soc", "drivers/soundwire", "drivers/staging", "drivers/target", "drivers/thunderbolt", "drivers/ufs",
    "drivers/usb/gadget", "drivers/vdpa", "drivers/vfio", "drivers/vhost", "drivers/video", "drivers/xen",
    "fs/9p", "fs/adfs", "fs/affs", "fs/afs", "fs/befs", "fs/bfs", "fs/btrfs", "fs/cachefiles", "fs/ceph", "fs/coda",
    "fs/cramfs", "fs/dlm", "fs/ecryptfs", "fs/efs", "fs/erofs", "fs/f2fs", "fs/fscache", "fs/gfs2", "fs/hfs",
    "fs/hfsplus", "fs/hpfs", "fs/jffs2", "fs/jfs", "fs/minix", "fs/netfs", "fs/nfs", "fs/nfs_common", "fs/nfsd",
    "fs/nilfs2", "fs/ntfs", "fs/ntfs3", "fs/ocfs2", "fs/omfs", "fs/orangefs", "fs/pstore", "fs/qnx4", "fs/qnx6",
    "fs/reiserfs", "fs/romfs", "fs/smb", "fs/smbfs_common", "fs/sysv", "fs/ubifs", "fs/udf", "fs/ufs", "fs/vboxsf",
    "fs/xfs", "fs/zonefs", "fs/bcachefs", "net/6lowpan", "net/9p", "net/appletalk", "net/atm", "net/ax25",
    "net/batman-adv", "net/ceph", "net/dccp", "net/ieee802154", "net/kcm", "net/lapb", "net/mac802154", "net/mpls",
    "net/mptcp", "net/netrom", "net/nfc", "net/openvswitch", "net/phonet", "net/rds", "net/rose", "net/rxrpc",
    "net/sctp", "net/smc", "net/sunrpc", "net/tipc", "net/vmw_vsock", "net/x25", "sound",
)  # fmt: skip
_KEPT: Final = (
    # The boards' own: network, wireless, memory cards, their firmware's mailbox, camera left out.
    "drivers/firmware/raspberrypi", "drivers/net/ethernet/broadcom/genet", "drivers/net/ethernet/cadence",
    "drivers/net/wireless/broadcom/brcm80211", "drivers/soc/bcm", "drivers/staging/vc04_services/vchiq",
    # What is plugged in: USB storage, other wireless adapters, and the disks of a virtual machine.
    "drivers/misc/eeprom", "drivers/net/wireless/mediatek/mt76", "drivers/net/wireless/realtek/rtl8xxxu",
    "drivers/scsi/scsi_common", "drivers/scsi/scsi_mod", "drivers/scsi/sd_mod", "drivers/platform/raspberrypi",
    # Memory that checks itself for being read only.
    "drivers/md/dm-mod", "drivers/md/dm-verity", "drivers/md/dm-bufio",
)  # fmt: skip

# In the order of a start: what a card hangs on, what names its file system, and the network of an emulated board, whose
# driver must be there before another one takes the device.
_AT_START: Final = (
    "bcm2835-dma", "raspberrypi-hwmon", "gpio-raspberrypi-exp", "fixed", "gpio-regulator", "regulator-gpio",
    "sdhci-iproc", "sdhci-brcmstb", "bcm2835", "bcm2835-sdhost", "mmc_block", "virtio_pci", "virtio_mmio", "virtio_blk",
    "crc32c_generic", "ext4", "usbnet", "cdc_ether",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Modules:
    """What depmod found: paths below the kernel's folder, each with what must be loaded before it."""

    needs: Mapping[PurePosixPath, tuple[PurePosixPath, ...]]

    def kept(self) -> frozenset[PurePosixPath]:
        """Return those that a board has use for, with all that they need."""
        wanted = {path for path in self.needs if _is_kept(path)}
        return frozenset(wanted.union(*(self.needs[path] for path in wanted)))

    def at_start(self) -> tuple[PurePosixPath, ...]:
        """Return what the initrd loads, in that order; what the kernel has built in is not among it."""
        named = {_name(path): path for path in self.needs}
        order: dict[PurePosixPath, None] = {}
        for name in _AT_START:
            path = named.get(name.replace("-", "_"))
            if path is not None:
                order.update(dict.fromkeys((*reversed(self.needs[path]), path)))
        return tuple(order)


def parse_modules(text: str) -> Modules:
    """Read depmod's ``modules.dep``.

    Raises:
        BuildError: it is none.
    """
    needs = {}
    for line in text.splitlines():
        path, colon, others = line.partition(":")
        if not colon:
            raise BuildError(f"modules.dep: {line!r} is no line of it")
        needs[PurePosixPath(path)] = tuple(PurePosixPath(other) for other in others.split())
    return Modules(needs)


def _is_kept(path: PurePosixPath) -> bool:
    below = str(path).removeprefix("kernel/")
    return _longest(_KEPT, below) >= _longest(_DROPPED, below)


def _longest(starts: Iterable[str], path: str) -> int:
    return max((len(start) for start in starts if path.startswith((f"{start}/", f"{start}."))), default=0)


def _name(path: PurePosixPath) -> str:
    return path.name.split(".")[0].replace("-", "_")
