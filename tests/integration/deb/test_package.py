"""The package installs, runs, upgrades and leaves nothing behind, on a Debian whose systemd does not run."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from exporter.proof.debian_root import Architecture, prepare_root
from exporter.proof.emulated import roots_folder
from exporter.proof.places import NotRunError
from scripts.deb.architectures import ARCHITECTURES
from scripts.deb.build import build_package
from tests.conftest import REPOSITORY
from tests.debian_machine import MAKE_BYTECODE, Root, bytecode_of
from tests.integration.deb.conftest import TIME_S, BuildPackage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
BARE = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
# With the paths that the program sets; msgspec, where it was compiled by us, is asked for what depends on sizes.
_LOAD_THE_ENGINE = """
import runpy
runpy.run_path("/usr/bin/fieldloop-agent")
import msgspec
from edge_agent.engine.loading import load_engine
values = {"a": [1 << 40, -1.5, 2**63, None, "x" * 300]}
for form in (msgspec.msgpack, msgspec.json):
    assert form.decode(form.encode(values)) == values
print(load_engine())
"""
UNIT = REPOSITORY / "edge_agent" / "service" / "fieldloop-agent.service"


def test_the_same_sources_give_the_same_bytes(package_of: BuildPackage, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    first = package_of("amd64", "0.1.0")
    # Everything but what pip fetches is made anew, elsewhere.
    shutil.copytree(REPOSITORY / "build" / "deb" / "fetched", tmp_path / "cache" / "fetched")
    again = build_package(ARCHITECTURES["amd64"], "0.1.0", tmp_path, tmp_path / "cache", TIME_S)
    assert again.read_bytes() == first.read_bytes()


def test_it_installs_upgrades_and_purges_without_a_trace(root: Root, package_of: BuildPackage):
    before = root.files()
    root.installs(package_of("amd64", "0.1.0"))
    assert root.run("fieldloop-agent", "--version").stdout == "fieldloop-agent 0.1.0\n"
    assert root.run("dpkg", "--verify", "fieldloop-agent").stdout == ""
    wants = root.folder / "etc/systemd/system/multi-user.target.wants/fieldloop-agent.service"
    assert wants.is_symlink()
    assert re.search("^fieldloop:", root.run("getent", "passwd", "fieldloop").stdout)
    state = root.folder / "var/lib/fieldloop"
    owner = root.run("stat", "--format=%U:%G:%a", "/var/lib/fieldloop").stdout.strip()
    assert owner == "fieldloop:fieldloop:750"
    assert bytecode_of(root, "usr/lib/fieldloop/edge_agent/agent")
    (state / "spool.db").write_text("kept")
    (root.folder / "etc/fieldloop/agent.toml").write_text("kept")
    root.installs(package_of("amd64", "0.1.1"))
    assert "\nVersion: 0.1.1\n" in root.run("dpkg", "--status", "fieldloop-agent").stdout
    root.run("dpkg", "--remove", "fieldloop-agent")
    assert not (root.folder / "usr/lib/fieldloop").exists()
    for kept in (state / "spool.db", root.folder / "etc/fieldloop/agent.toml"):
        assert kept.read_text() == "kept"
    root.run("dpkg", "--purge", "fieldloop-agent")
    assert root.files() == before
    assert root.run("getent", "passwd", "fieldloop", check=False).stdout == ""


def test_the_service_has_bytecode_of_its_own_of_all_that_it_loads(root: Root, package_of: BuildPackage):
    root.installs(package_of("amd64", "0.1.0"))
    for module in ("edge_agent/upkeep", "edge_agent/sensing/mqtt_source", "python3.11/msgspec/__init__"):
        assert bytecode_of(root, f"usr/lib/fieldloop/{module}")
    assert list((root.folder / "usr/lib/fieldloop/bytecode").glob("start.cpython-311.opt-2"))
    for module in ("ssl", "json/encoder", "signal"):
        assert bytecode_of(root, f"usr/lib/python3.11/{module}")
    root.run("dpkg", "--purge", "fieldloop-agent")


def test_bytecode_is_made_anew_after_an_installation_and_not_else(root: Root, package_of: BuildPackage):
    root.installs(package_of("amd64", "0.1.0"))
    mark = root.folder / "usr/lib/fieldloop/bytecode/since-it-was-made"
    mark.touch()
    root.run(MAKE_BYTECODE)
    assert mark.exists()
    # As pip does it: a runtime, and one that cannot be loaded.
    runtimes = root.folder / "usr/local/lib/fieldloop"
    runtimes.mkdir()
    (runtimes / "numpy.py").write_text("float32 = 1")
    (runtimes / "onnxruntime.py").write_text("1 / 0")
    root.run(MAKE_BYTECODE)
    assert not mark.exists()
    assert bytecode_of(root, "usr/local/lib/fieldloop/numpy")
    # A device that was cut off amidst it.
    (root.folder / "usr/lib/fieldloop/bytecode").rename(root.folder / "usr/lib/fieldloop/bytecode.new")
    root.run(MAKE_BYTECODE)
    assert bytecode_of(root, "usr/local/lib/fieldloop/numpy")
    shutil.rmtree(runtimes)
    root.run("dpkg", "--purge", "fieldloop-agent")
    assert not (root.folder / "usr/lib/fieldloop").exists()


def test_an_administrator_who_disabled_it_finds_it_disabled_after_an_upgrade(root: Root, package_of: BuildPackage):
    root.installs(package_of("amd64", "0.1.0"))
    wants = root.folder / "etc/systemd/system/multi-user.target.wants/fieldloop-agent.service"
    wants.unlink()
    root.installs(package_of("amd64", "0.1.1"))
    assert not wants.exists()
    root.run("dpkg", "--purge", "fieldloop-agent")


def test_nothing_of_python_outside_of_the_package_is_imported(root: Root, package_of: BuildPackage):
    root.installs(package_of("amd64", "0.1.0"))
    trap = root.folder / "usr/lib/python3/dist-packages/msgspec"
    trap.mkdir()
    (trap / "__init__.py").write_text("raise SystemExit('the wrong one')")
    # As the agent and its child find their libraries.
    code = "import json, sys, msgspec, tuf, edge_agent.wiring; print(json.dumps(sorted(sys.modules)))"
    paths = "/usr/lib/fieldloop:/usr/lib/fieldloop/python3.11:/usr/local/lib/fieldloop"
    done = root.run("env", f"PYTHONPATH={paths}", "/usr/bin/python3", "-P", "-c", code)
    assert "numpy" not in json.loads(done.stdout)
    shutil.rmtree(trap)
    root.run("dpkg", "--purge", "fieldloop-agent")


def test_dpkg_reads_the_fields(package_of: BuildPackage):
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no dpkg-deb here")
    for name in ARCHITECTURES:
        package = package_of(name, "0.1.0")
        shown = subprocess.run(
            ["dpkg-deb", "--show", "--showformat=${Architecture} ${Version} ${Depends}", str(package)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        architecture, version, depends = shown.split(" ", 2)
        assert (architecture, version) == (name, "0.1.0")
        assert "python3 (>= 3.11)" in depends
        listed = subprocess.run(["dpkg-deb", "--contents", str(package)], check=True, capture_output=True, text=True)
        engines = set(re.findall(r"engine/lib/(\w+)/fieldloop_engine\.so", listed.stdout))
        assert engines == set(ARCHITECTURES[name].engines)
        assert all(line.split()[1] == "root/root" for line in listed.stdout.splitlines())


@pytest.mark.parametrize("architecture", ["arm64", "armhf"])
def test_on_arm_it_runs_under_emulation(architecture: Architecture, package_of: BuildPackage, tmp_path: Path):
    if os.geteuid() != 0:
        pytest.skip("chroot takes root")
    try:
        base = prepare_root(architecture, roots_folder(os.environ))
    except NotRunError as error:
        pytest.skip(str(error))
    # Links, not copies: what is there stays as it is.
    inside = tmp_path / "root"
    subprocess.run(["cp", "--archive", "--link", str(base), str(inside)], check=True)
    subprocess.run(["dpkg-deb", "--extract", str(package_of(architecture, "0.1.0")), str(inside)], check=True)
    settings = "/usr/share/doc/fieldloop-agent/examples/agent.toml"
    for command, expected in (
        (("--version",), "fieldloop-agent 0.1.0\n"),
        # msgspec reads the settings, and sqlite3 looks for the spool.
        (("status", "--settings", settings), "press-1 of fleet plant, not running"),
    ):
        assert expected in _emulated(inside, "/usr/bin/fieldloop-agent", *command)
    assert "fieldloop_engine.so" in _emulated(inside, "-c", _LOAD_THE_ENGINE)


@pytest.mark.parametrize("devices", [(), ("i2c", "serial")])
def test_its_unit_exposes_little(devices: tuple[str, ...], tmp_path: Path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here: sudo apt-get install systemd")
    unit = tmp_path / UNIT.name
    drop_ins = (UNIT.parent / "devices" / f"{name}.conf" for name in devices)
    unit.write_text("\n".join(path.read_text() for path in (UNIT, *drop_ins)))
    # In tenths: 2.0.
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Overall exposure level" in done.stdout


def _emulated(root: Path, *arguments: str) -> str:
    """Run the Python of a root of another architecture, and return what it wrote."""
    command = ["chroot", str(root), "/qemu", "/usr/bin/python3", "-I", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=BARE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
