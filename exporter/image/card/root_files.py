"""The root partition: what it has beside Debian's packages. It is mounted read-only, and the same on alike cards."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from exporter.image.card.accounts import verify_user
from exporter.image.card.contents import BOOT_LABEL, DATA_LABEL, PLAIN, PROGRAM, ROOT_LABEL, CardFile
from exporter.image.card.data_files import AUTHORIZED_KEYS, SETTINGS, STATE
from exporter.image.card.description import System
from exporter.image.errors import CardError

UNITS: Final = PurePosixPath("/etc/systemd/system")
PROGRAMS: Final = PurePosixPath("/usr/lib/fieldloop-card")
# Where they lie in this package.
PROGRAMS_HERE: Final = Path(__file__).parent / "device"
# What the watchdog of a Raspberry Pi counts to.
_MAX_WATCHDOG_S: Final = 15

# Nobody is there to start again what gave up, and the agent needs them all: systemd would wait for 90 s, which a slow
# board's udev may take until it has looked at the card.
_DEVICE: Final = "x-systemd.device-timeout=infinity"
_PATIENT: Final = "x-systemd.mount-timeout=infinity"
_FSTAB: Final = f"""\
LABEL={DATA_LABEL} /data ext4 noatime,nofail,{_DEVICE},{_PATIENT} 0 2
{SETTINGS} /etc/fieldloop none bind,ro,nofail,{_PATIENT} 0 0
{STATE} /var/lib/fieldloop none bind,nofail,{_PATIENT} 0 0
/data/systemd /var/lib/systemd none bind,nofail,{_PATIENT} 0 0
tmpfs /tmp tmpfs nosuid,nodev,mode=1777,size=25%,{_PATIENT} 0 0
tmpfs /var/tmp tmpfs nosuid,nodev,mode=1777,size=10%,{_PATIENT} 0 0
tmpfs /var/log tmpfs nosuid,nodev,noexec,mode=0755,size=16M,{_PATIENT} 0 0
LABEL={BOOT_LABEL} /boot/firmware vfat noauto,ro,umask=077 0 0
"""
_KEPT_JOURNAL: Final = f"/data/journal /var/log/journal none bind,nofail,{_PATIENT} 0 0\n"
# Packages are installed on a root that may be written meanwhile: a power cut then leaves what must be looked at.
_CHECKED_ROOT: Final = f"LABEL={ROOT_LABEL} / ext4 ro,noatime,{_DEVICE} 0 1\n"

_JOURNALD: Final = """\
[Journal]
Storage={storage}
RuntimeMaxUse=8M
SystemMaxUse=48M
SystemMaxFileSize=8M
ForwardToSyslog=no
"""
_WIRED: Final = """\
[Match]
Type=ether

[Network]
DHCP=yes

[DHCPv4]
# Not by the machine id, which a board that was not named has anew at each start.
ClientIdentifier=mac
"""
_WIRELESS: Final = """\
[Match]
Type=wlan

[Network]
DHCP=yes
IgnoreCarrierLoss=3s

[DHCPv4]
ClientIdentifier=mac
# A cable goes first.
RouteMetric=2048

[IPv6AcceptRA]
RouteMetric=2048
"""
_WIFI_RULE: Final = """\
ACTION=="add", SUBSYSTEM=="net", KERNEL=="wlan*", TAG+="systemd", ENV{SYSTEMD_WANTS}+="wpa_supplicant@%k.service"
"""
_SSHD: Final = f"""\
HostKey /data/ssh/ssh_host_ed25519_key
AuthorizedKeysFile {AUTHORIZED_KEYS}
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
AllowUsers @USER@
UsePAM yes
X11Forwarding no
PrintMotd no
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
"""
_UPDATES: Final = """\
// Debian's security updates, by themselves. The root is writable while packages are installed, and at no other time.
APT::Periodic::Update-Package-Lists "1";
APT::Periodic::Unattended-Upgrade "1";
APT::Periodic::AutocleanInterval "7";
Dir::State "/data/apt/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "/data/apt/cache";
DPkg::Pre-Invoke { "mount -o remount,rw /"; };
// What runs may hold replaced files open: then it stays so until the restart, which follows.
DPkg::Post-Invoke { "sync; mount -o remount,ro / || true"; };
#clear Unattended-Upgrade::Origins-Pattern;
Unattended-Upgrade::Origins-Pattern { "origin=Debian,codename=${distro_codename}-security"; };
// The kernel starts with an initrd that is made with the image: a new image brings a new kernel.
Unattended-Upgrade::Package-Blacklist { "^linux-image-"; "^raspi-firmware$"; };
Unattended-Upgrade::Automatic-Reboot "true";
Unattended-Upgrade::Automatic-Reboot-Time "03:30";
"""

# What apt itself makes, but for the folders above, which are not where they were when it was installed.
_APT_FOLDERS: Final = """\
[Service]
ExecStartPre=/bin/mkdir -p /data/apt/state/lists/partial /data/apt/cache/archives/partial
"""


def root_files(system: System) -> Iterator[CardFile]:
    """Yield the files of the root partition.

    Raises:
        CardError: the user cannot have this name, or the watchdog not this time.
    """
    yield _file("/etc/fstab", _fstab(system))
    # Empty: the system makes up one for each start, unless the kernel is told of one.
    yield _file("/etc/machine-id", "")
    yield _file("/etc/hostname", "fieldloop\n")
    yield _file("/etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 fieldloop\n")
    yield _file("/etc/systemd/system.conf.d/fieldloop.conf", _manager(system))
    yield _file("/etc/sysctl.d/fieldloop.conf", "kernel.panic = 10\nkernel.panic_on_oops = 1\n")
    storage = "persistent" if system.journal == "kept" else "volatile"
    yield _file("/etc/systemd/journald.conf.d/fieldloop.conf", _JOURNALD.format(storage=storage))
    yield _file("/etc/systemd/network/80-wired.network", _WIRED)
    yield _file("/etc/systemd/network/81-wireless.network", _WIRELESS)
    yield _file("/etc/systemd/resolved.conf.d/fieldloop.conf", "[Resolve]\nLLMNR=no\nMulticastDNS=no\n")
    # Each saving is a write to the card.
    yield _file("/etc/systemd/timesyncd.conf.d/10-fieldloop.conf", "[Time]\nSaveIntervalSec=10min\n")
    yield _file(f"{UNITS}/fieldloop-agent.service.d/card.conf", _requires("/etc/fieldloop /var/lib/fieldloop"))
    yield _file(f"{UNITS}/systemd-resolved.service", _device("systemd-resolved.service"))
    yield from _device_files("fieldloop-grow-data", "fieldloop-machine-id")
    if system.has_wifi:
        yield from _wifi_files()
    if system.ssh_user is not None:
        yield from _ssh_files(system.ssh_user)
    if system.security_updates:
        yield _file("/etc/apt/apt.conf.d/90fieldloop", _UPDATES)
        for name in ("apt-daily", "apt-daily-upgrade"):
            yield _file(f"{UNITS}/{name}.service.d/card.conf", _requires("/data") + _APT_FOLDERS)


def _fstab(system: System) -> str:
    lines = [_FSTAB]
    if system.security_updates:
        lines.insert(0, _CHECKED_ROOT)
    if system.journal == "kept":
        lines.append(_KEPT_JOURNAL)
    return "".join(lines)


def _manager(system: System) -> str:
    if not 0 <= system.watchdog_s <= _MAX_WATCHDOG_S:
        raise CardError(f"watchdog of {system.watchdog_s} s: a Raspberry Pi's counts to {_MAX_WATCHDOG_S}; 0 has none")
    # A system that comes to its end only half way is started again, too.
    watchdog = f"RuntimeWatchdogSec={system.watchdog_s}\nRebootWatchdogSec={system.watchdog_s}\n"
    return f"[Manager]\n{watchdog if system.watchdog_s else ''}CrashReboot=yes\nShowStatus=no\n"


def _wifi_files() -> Iterator[CardFile]:
    yield _file("/etc/udev/rules.d/80-fieldloop-wifi.rules", _WIFI_RULE)
    wanted = "ConditionPathExists=/etc/wpa_supplicant/wpa_supplicant-%I.conf\n"
    yield _file(f"{UNITS}/wpa_supplicant@.service.d/card.conf", _requires("/data") + wanted)


def _ssh_files(user: str) -> Iterator[CardFile]:
    verify_user(user)
    yield _file("/etc/ssh/fieldloop_sshd_config", _SSHD.replace("@USER@", user))
    yield _file("/usr/lib/sysusers.d/fieldloop-card.conf", f'u {user} 1000 "{user}" /data/home/{user} /bin/bash\n')
    yield _file("/etc/sudoers.d/fieldloop", f"{user} ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440)
    yield _file(f"{UNITS}/fieldloop-ssh.socket", _device("fieldloop-ssh.socket"))
    yield _file(f"{UNITS}/fieldloop-ssh@.service", _device("fieldloop-ssh@.service"))
    for file in _device_files("fieldloop-ssh-keys"):
        yield CardFile(file.path, file.content.replace(b"@USER@", user.encode()), file.mode, file.partition)


def _device_files(*names: str) -> Iterator[CardFile]:
    """Yield a program of the board, and the unit that runs it."""
    for name in names:
        yield _file(f"{PROGRAMS}/{name}", _device(name), PROGRAM)
        yield _file(f"{UNITS}/{name}.service", _device(f"{name}.service"))


def _device(name: str) -> str:
    return (PROGRAMS_HERE / name).read_text(encoding="utf-8")


def _requires(places: str) -> str:
    return f"[Unit]\nRequiresMountsFor={places}\n"


def _file(path: str, text: str, mode: int = PLAIN) -> CardFile:
    return CardFile(PurePosixPath(path), text.encode(), mode, "root")
