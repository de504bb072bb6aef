from pathlib import PurePosixPath

import pytest

from exporter.image.build.kernel import parse_modules
from exporter.image.errors import BuildError

TEXT = """\
kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/fs/mbcache.ko
kernel/fs/jbd2/jbd2.ko:
kernel/fs/mbcache.ko:
kernel/drivers/mmc/host/sdhci-iproc.ko: kernel/drivers/mmc/host/sdhci-pltfm.ko kernel/drivers/mmc/host/sdhci.ko
kernel/drivers/mmc/host/sdhci-pltfm.ko: kernel/drivers/mmc/host/sdhci.ko
kernel/drivers/mmc/host/sdhci.ko:
kernel/drivers/gpu/drm/drm.ko:
kernel/drivers/gpu/drm/nouveau.ko: kernel/drivers/gpu/drm/drm.ko
kernel/drivers/staging/other/other.ko:
kernel/drivers/staging/vc04_services/vchiq.ko: kernel/drivers/staging/other/other.ko
kernel/drivers/net/wireless/ath/ath9k.ko:
kernel/drivers/net/wireless/broadcom/brcm80211/brcmfmac/brcmfmac.ko:
kernel/drivers/scsi/sd_mod.ko.xz: kernel/drivers/scsi/scsi_mod.ko.xz
kernel/drivers/scsi/scsi_mod.ko.xz:
"""


def names(paths: object) -> list[str]:
    return [path.name for path in paths]  # type: ignore[attr-defined]


def test_what_a_module_needs_is_loaded_before_it_and_once():
    assert names(parse_modules(TEXT).at_start()) == [
        "sdhci.ko", "sdhci-pltfm.ko", "sdhci-iproc.ko", "mbcache.ko", "jbd2.ko", "ext4.ko",
    ]  # fmt: skip


def test_drivers_of_other_machines_are_dropped_and_those_of_boards_kept():
    kept = set(names(parse_modules(TEXT).kept()))
    assert {"ext4.ko", "brcmfmac.ko", "sdhci-iproc.ko", "sd_mod.ko.xz", "scsi_mod.ko.xz"} <= kept
    assert not {"nouveau.ko", "drm.ko", "ath9k.ko"} & kept


def test_what_a_kept_module_needs_is_kept_wherever_it_lies():
    kept = parse_modules(TEXT).kept()
    assert PurePosixPath("kernel/drivers/staging/vc04_services/vchiq.ko") in kept
    assert PurePosixPath("kernel/drivers/staging/other/other.ko") in kept


def test_what_is_no_list_of_modules_is_refused():
    with pytest.raises(BuildError, match=r"modules\.dep"):
        parse_modules("<html>")
