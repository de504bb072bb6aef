"""What is written for cloud-init is held against cloud-init itself, and against netplan, which gets the network."""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from exporter.image.card.description import Network, StaticAddress, Wifi
from exporter.image.customise.cloud_init import network_config, user_data
from exporter.proof import debian_root
from exporter.proof.emulated import roots_folder
from exporter.proof.places import NotRunError
from tests.debian_machine import HERE, SUITE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
# Unpacked, not installed: a machine with cloud-init would be set up by it at its next start.
PACKAGES = ("cloud-init", "netplan.io")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL1LOof+q71n+qta+bqAwDIEC87/MuXyUpUTVfUNY1kK some: one # here"
SSID = 'a "b" ü\\'
# Raspberry Pi OS has NetworkManager do it.
RENDERER = "network: {version: 2, renderer: NetworkManager}\n"


class Tools:
    """Both, in a root of their own."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self.folder = folder

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run one; ``@`` stands for the folder, as it is seen inside."""
        seen = f"/{self.folder.relative_to(self._root)}"
        return subprocess.run(
            ["chroot", str(self._root), *(part.replace("@", seen) for part in command)],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
        )


@pytest.fixture
def tools() -> Iterator[Tools]:
    """A root that is made once for its packages."""
    if os.geteuid() != 0:
        pytest.skip("chroot takes root")
    cache = roots_folder(os.environ)
    root = cache / f"unpacked-{SUITE}-{hashlib.sha256(' '.join(PACKAGES).encode()).hexdigest()[:12]}"
    if not root.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".new-") as name:
            try:
                debian_root._unpack(HERE, PACKAGES, Path(name), Path(name) / "made")  # type: ignore[arg-type]
            except NotRunError as error:
                pytest.skip(f"no cloud-init: {error}")
            (Path(name) / "made" / "tmp").mkdir(exist_ok=True)
            (Path(name) / "made").rename(root)
    with tempfile.TemporaryDirectory(dir=root / "tmp") as name:
        yield Tools(root, Path(name))


@pytest.mark.parametrize(("user", "keys"), [("warden", (KEY, KEY)), (None, ())])
@pytest.mark.parametrize("hostname", ["press-1", "no", None])
def test_cloud_init_takes_the_user_data(tools: Tools, user: str | None, keys: Sequence[str], hostname: str | None):
    (tools.folder / "user-data").write_bytes(user_data(user=user, keys=keys, hostname=hostname))
    done = tools.run("python3", "/usr/bin/cloud-init", "schema", "--config-file", "@/user-data")
    assert done.stdout.startswith("Valid cloud-config"), done.stdout + done.stderr


def test_cloud_init_refuses_what_its_schema_does_not_know(tools: Tools):
    data = user_data(user=None, keys=(), hostname=None).replace(b"runcmd:", b"runcmd: 7 #")
    (tools.folder / "user-data").write_bytes(data.split(b"\n  - ")[0])
    done = tools.run("python3", "/usr/bin/cloud-init", "schema", "--config-file", "@/user-data")
    assert "schema errors" in done.stdout + done.stderr


def test_netplan_makes_of_the_network_what_was_asked_for(tools: Tools):
    network = Network(
        StaticAddress("192.0.2.7/24", "192.0.2.1", ("192.0.2.2",)),
        "CH",
        (Wifi(SSID.encode(), 'back\\slash "quoted"'), Wifi(b"open", None, True)),
    )
    (tools.folder / "network-config").write_bytes(network_config(network) or b"")
    kinds = ("--network-data", "@/network-config", "--kind", "yaml", "--output-kind", "netplan")
    done = tools.run(
        "python3", "/usr/bin/cloud-init", "devel", "net-convert", *kinds, "--distro", "debian", "--directory", "@"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (tools.folder / "etc/netplan/00-renderer.yaml").write_text(RENDERER)
    done = tools.run("/usr/libexec/netplan/generate", "--root-dir", "@")
    assert done.returncode == 0, done.stdout + done.stderr
    made = {path.name: path.read_text() for path in (tools.folder / "run/NetworkManager/system-connections").iterdir()}
    wired = next(text for name, text in made.items() if "eth0" in name)
    assert "address1=192.0.2.7/24" in wired
    assert "192.0.2.1" in wired
    assert "dns=192.0.2.2" in wired
    ours = next(text for text in made.values() if "psk=" in text)
    # A backslash stands doubled in a file of NetworkManager's.
    assert 'ssid=a "b" ü\\\\\n' in ours
    assert 'psk=back\\\\slash "quoted"\n' in ours
    opened = next(text for text in made.values() if "hidden=true" in text)
    assert "ssid=open" in opened
    assert "psk=" not in opened
