"""The attacks that the TUF specification lists (1.5.2), each by a mirror that lies, against what a device does.

Beside them a device whose clock is wrong, and what no signature can tell it then.
"""

import datetime as dt
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from tuf.ngclient._internal import trusted_metadata_set

from broker.messages import BundleRef
from edge_agent.bundle import parse_manifest
from edge_agent.clock import SystemClock
from edge_agent.errors import RepositoryRefusedError, RepositoryStaleError, RepositoryUnreachableError
from edge_agent.update.fetcher import BundleFetcher
from exporter.repository.keys import open_keyring
from exporter.repository.listing import load_listing
from exporter.repository.repository import init_repository, publish_bundle
from exporter.repository.roles import Quorum, sign
from exporter.repository.root_changes import NO_CHANGES, prepare_root
from exporter.repository.rotation import rotate_key
from tests.forging import list_file, only_whole
from tests.integration.exporter.mirror import Mirror, by_the_byte, endlessly
from tests.unit.exporter.repositories import write_bundle

CLOCK = SystemClock()
ONE, TWO, EVIL = BundleRef("rain", 1), BundleRef("rain", 2), BundleRef("rain", 9)
MODEL = b"a model of rain " * 100


class LeapingClock:
    """Each look at it is ten seconds after the one before."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic_s(self) -> float:
        self.now_s += 10.0
        return self.now_s

    def utc_s(self) -> float:
        return CLOCK.utc_s()


class Device:
    """What a device does at an order, and what it keeps between two of them."""

    def __init__(self, folder: Path, url: str, root: bytes) -> None:
        self.folder, self.url, self.root = folder, url, root
        self.clock: LeapingClock | SystemClock = CLOCK
        folder.mkdir()

    def update(self, bundle: BundleRef, url: str | None = None) -> bytes:
        """Fetch a bundle; return the model that would be proved and run."""
        fetcher = BundleFetcher(url or self.url, self.root, self.folder / "tuf", 5.0, clock=self.clock)
        fetcher.refresh()
        manifest = parse_manifest(fetcher.fetch_manifest(bundle, self.folder / "manifest.json"))
        assert manifest.ref == bundle
        (self.folder / "model").unlink(missing_ok=True)
        fetcher.fetch_variant(bundle, manifest.variants[0], self.folder / "model")
        return (self.folder / "model").read_bytes()


class Scene:
    """A repository with one bundle of each of two models, its mirror, and a device that has updated once."""

    def __init__(self, folder: Path, mirror: Mirror) -> None:
        self.folder, self.mirror = folder, mirror
        self.repository, self.keys = mirror.folder, folder / "keys"
        root = init_repository(self.repository, self.keys, clock=CLOCK, root=Quorum(3, 2))
        self.root = root.read_bytes()
        self.publish(1)
        publish_bundle(write_bundle(folder / "other", 1, b"other " * 200, "other"), *self.places, clock=CLOCK)
        self.device = Device(folder / "device", mirror.url, self.root)
        assert self.device.update(ONE) == model(1)

    @property
    def places(self) -> tuple[Path, Path]:
        return self.repository, self.keys

    def publish(self, version: int) -> None:
        publish_bundle(
            write_bundle(self.folder / f"v{version}", version, model(version), "rain"), *self.places, clock=CLOCK
        )

    def copy(self, name: str) -> Path:
        """Return a copy of the repository as it is now."""
        return Path(shutil.copytree(self.repository, self.folder / name))

    def steal(self, *roles: str) -> Path:
        """Return a folder with the stolen keys of some roles."""
        stolen = self.folder / f"stolen-{'-'.join(roles)}"
        stolen.mkdir()
        for role in roles:
            shutil.copy(self.keys / f"{role}.pem", stolen)
        return stolen

    def metadata(self, name: str) -> Path:
        return self.repository / "metadata" / name


def model(version: int) -> bytes:
    return MODEL + b"version %d" % version


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Mirror(tmp_path / "repository") as mirror:
        yield Scene(tmp_path, mirror)


def test_attack_1_arbitrary_software_is_not_installed(scene: Scene):
    scene.publish(2)
    whole = only_whole(scene.repository / "targets" / "rain" / "2", "model.onnx")
    scene.mirror.lies[whole.name] = b"evil" * (len(model(2)) // 4) + b"evil"[: len(model(2)) % 4]
    with pytest.raises(RepositoryRefusedError, match="altered or broken"):
        scene.device.update(TWO)
    assert not (scene.device.folder / "model").exists()
    # Nor with metadata to it, signed by keys that the device does not trust.
    init_repository(scene.folder / "evil", scene.folder / "evil-keys", clock=CLOCK)
    bundle = write_bundle(scene.folder / "v9", 9, b"evil", "rain")
    publish_bundle(bundle, scene.folder / "evil", scene.folder / "evil-keys", clock=CLOCK)
    scene.mirror.folder = scene.folder / "evil"
    with pytest.raises(RepositoryRefusedError, match="not signed by the keys that this device trusts"):
        scene.device.update(EVIL)


def test_attack_2_rollback_to_older_metadata_is_refused(scene: Scene):
    old = scene.copy("old")
    scene.publish(2)
    assert scene.device.update(TWO) == model(2)
    scene.mirror.folder = old
    with pytest.raises(RepositoryStaleError, match="older than what this device has seen"):
        scene.device.update(ONE)


def test_attack_3_indefinite_freeze_ends_when_the_timestamp_expires(
    scene: Scene, device_days_off: Callable[[int], None]
):
    frozen = scene.copy("frozen")
    scene.publish(2)
    scene.mirror.folder = frozen
    with pytest.raises(RepositoryStaleError, match="not listed"):
        scene.device.update(TWO)
    device_days_off(2)
    with pytest.raises(RepositoryUnreachableError, match="metadata has expired"):
        scene.device.update(ONE)


@pytest.mark.parametrize(
    "file", ["timestamp.json", ".snapshot.json", ".model-rain.json", "manifest.json", "model.onnx"]
)
def test_attack_4_endless_data_is_cut_off_at_what_is_listed(scene: Scene, file: str):
    scene.publish(2)
    scene.mirror.lies = {".zst": 404, file: endlessly}
    with pytest.raises(RepositoryRefusedError, match="longer than what is listed"):
        scene.device.update(TWO)


@pytest.mark.parametrize("file", ["timestamp.json", "2.root.json", "model.onnx"])
def test_attack_5_slow_retrieval_is_given_up_and_tried_again(scene: Scene, file: str):
    scene.publish(2)
    scene.mirror.lies = {".zst": 404, file: by_the_byte}
    scene.device.clock = LeapingClock()
    with pytest.raises(RepositoryUnreachableError, match="256 a second are due"):
        scene.device.update(TWO)
    scene.mirror.lies.clear()
    scene.device.clock = CLOCK
    assert scene.device.update(TWO) == model(2)


def test_attack_6_extraneous_dependencies_are_not_fetched(scene: Scene):
    scene.publish(2)
    scene.mirror.requests.clear()
    scene.device.update(TWO)
    fetched = [path.rpartition("/")[2].partition(".")[2] for path in scene.mirror.requests if "/targets/" in path]
    assert fetched == ["manifest.json.zst", "model.onnx.zst"]
    # A list with more in it is not the one that was signed.
    listing = json.loads(scene.metadata("2.model-rain.json").read_bytes())
    listing["signed"]["targets"]["rain/2/more"] = listing["signed"]["targets"]["rain/2/model.onnx"]
    scene.mirror.lies[".model-rain.json"] = json.dumps(listing).encode()
    shutil.rmtree(scene.device.folder / "tuf")
    with pytest.raises(RepositoryRefusedError):
        scene.device.update(TWO)
    # Who may list this model's bundles cannot make a device fetch another one's in the place of a form.
    scene.mirror.lies.clear()
    path = next((scene.repository / "targets" / "rain" / "2").glob("*.model.onnx"))
    custom = {"is": "onnx-fp32", "compressed": "../../other/1/model.onnx", "deltas": {"0" * 64: "../../other/1/x"}}
    list_file(*scene.places, "rain/2/model.onnx", path.read_bytes(), role="model-rain", custom=custom)
    scene.mirror.requests.clear()
    assert scene.device.update(TWO) == model(2)
    assert not [path for path in scene.mirror.requests if "other" in path]


def test_attack_7_mix_and_match_of_metadata_of_different_times_is_refused(scene: Scene):
    old_models = scene.metadata("1.model-rain.json").read_bytes()
    old_snapshot = scene.metadata("3.snapshot.json").read_bytes()
    scene.publish(2)
    assert scene.metadata("4.snapshot.json").exists()
    for end, lie in ((".snapshot.json", old_snapshot), (".model-rain.json", old_models)):
        scene.mirror.lies = {end: lie}
        with pytest.raises(RepositoryRefusedError):
            scene.device.update(TWO)
    scene.mirror.lies = {}
    assert scene.device.update(TWO) == model(2)


def test_attack_8_a_trusted_file_is_not_taken_for_another_one(scene: Scene):
    scene.publish(2)
    older = next((scene.repository / "targets" / "rain" / "1").glob("*.model.onnx"))
    scene.mirror.lies = {".zst": 404, ".model.onnx": older.read_bytes()}
    with pytest.raises(RepositoryRefusedError, match="altered or broken"):
        scene.device.update(TWO)
    scene.mirror.lies = {".zst": 404, ".manifest.json": (scene.folder / "v1" / "manifest.json").read_bytes()}
    with pytest.raises(RepositoryRefusedError, match="altered or broken"):
        scene.device.update(TWO)


@pytest.mark.parametrize("lie", [404, 500, b"", b"<html>sign in to this network</html>"])
def test_attack_9_a_mirror_that_prevents_updates_spoils_none_from_an_honest_one(scene: Scene, lie: bytes | int):
    scene.publish(2)
    for file in ("timestamp.json", ".snapshot.json", ".model-rain.json", "manifest.json", ".onnx"):
        scene.mirror.lies = {".zst": lie, file: lie}
        with pytest.raises((RepositoryUnreachableError, RepositoryRefusedError)):
            scene.device.update(TWO)
    with Mirror(scene.repository) as honest:
        assert scene.device.update(TWO, honest.url) == model(2)


@pytest.mark.parametrize("stolen", [("timestamp",), ("snapshot", "timestamp")])
def test_attack_10_keys_of_timestamp_and_snapshot_list_nothing(scene: Scene, stolen: tuple[str, ...]):
    evil = scene.copy("evil")
    keys = scene.steal(*stolen)
    others = scene.folder / "other-keys"
    init_repository(scene.folder / "unused", others, clock=CLOCK)
    # The bundle is listed with a key of the thief's own, and all that names the list with stolen ones where there are.
    listing = load_listing(evil)
    ring = open_keyring([keys, others])
    signed = listing.models["model-rain"]
    signed.signed.targets["rain/9/manifest.json"] = signed.signed.targets["rain/1/manifest.json"]
    sign(signed, ring.signers.values())
    forged = evil / "metadata" / "1.model-rain.json"
    forged.write_bytes(signed.to_bytes())
    scene.mirror.folder = evil
    with pytest.raises(RepositoryRefusedError):
        Device(scene.folder / "new", scene.mirror.url, scene.root).update(EVIL)


def test_attack_10_a_models_key_alone_lists_nothing(scene: Scene):
    keys = scene.steal("model-rain")
    listing = load_listing(scene.repository)
    signed = listing.models["model-rain"]
    signed.signed.targets["rain/9/manifest.json"] = signed.signed.targets["rain/1/manifest.json"]
    sign(signed, open_keyring([keys]).signers.values())
    scene.mirror.lies[".model-rain.json"] = signed.to_bytes()
    with pytest.raises(RepositoryRefusedError, match=r"altered or broken|longer than what is listed"):
        Device(scene.folder / "new", scene.mirror.url, scene.root).update(EVIL)


def test_attack_10_keys_that_list_one_model_list_no_other(scene: Scene):
    keys = scene.steal("model-other", "snapshot", "timestamp")
    evil = scene.copy("evil")
    data = (write_bundle(scene.folder / "v9", 9, b"evil", "rain") / "manifest.json").read_bytes()
    list_file(evil, keys, "rain/9/manifest.json", data, role="model-other")
    scene.mirror.folder = evil
    with pytest.raises(RepositoryStaleError, match="not listed"):
        scene.device.update(EVIL)
    # What they may list, they can: all keys that it takes were stolen.
    scene.mirror.folder = other = scene.copy("evil2")
    data = (write_bundle(scene.folder / "o9", 9, b"evil", "other") / "manifest.json").read_bytes()
    list_file(other, keys, "other/9/manifest.json", data, role="model-other")
    with pytest.raises(RepositoryStaleError, match=r"other/9/model\.onnx: not listed"):
        Device(scene.folder / "new", scene.mirror.url, scene.root).update(BundleRef("other", 9))


def test_attack_10_fewer_root_keys_than_must_sign_make_no_root(scene: Scene):
    prepared = prepare_root(scene.repository, NO_CHANGES, clock=CLOCK)
    (scene.keys / "root" / "root+2.pem").unlink()
    (scene.keys / "root" / "root+3.pem").unlink()
    sign(prepared, open_keyring([scene.keys / "root"]).signers.values())
    scene.mirror.lies["2.root.json"] = prepared.to_bytes()
    with pytest.raises(RepositoryRefusedError, match="not signed by the keys that this device trusts"):
        scene.device.update(ONE)


def test_attack_10_after_its_keys_were_rotated_a_thief_has_lost_even_the_devices_that_believed_him(scene: Scene):
    roles = ("model-rain", "snapshot", "timestamp")
    keys, evil = scene.steal(*roles), scene.copy("evil")
    data = (write_bundle(scene.folder / "v9", 9, b"evil" * 200, "rain") / "manifest.json").read_bytes()
    for _ in range(20):  # far ahead of the repository's own versions
        list_file(evil, keys, "rain/9/manifest.json", data, role="model-rain")
    scene.mirror.folder = evil
    with pytest.raises(RepositoryStaleError, match=r"model\.onnx: not listed"):
        scene.device.update(EVIL)
    # The repository's own lists are behind those that the device has seen now.
    scene.mirror.folder = scene.repository
    scene.publish(2)
    with pytest.raises(RepositoryStaleError, match="older"):
        scene.device.update(TWO)
    for role in roles:
        rotate_key(role, *scene.places, clock=CLOCK)
    assert scene.device.update(TWO) == model(2)
    # With the roots that follow his, the thief's lists are worth nothing.
    for path in scene.repository.glob("metadata/*.root.json"):
        shutil.copy(path, evil / "metadata")
    scene.mirror.folder = evil
    with pytest.raises(RepositoryRefusedError, match="not signed by the keys that this device trusts"):
        scene.device.update(EVIL)


@pytest.fixture
def device_days_off(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Put the device's clock so many days ahead, or back; that of the repository is right."""

    def put(days: int) -> None:
        class Shifted(dt.datetime):
            @classmethod
            def now(cls, tz: dt.tzinfo | None = None) -> "Shifted":
                moment = CLOCK.utc_s() + days * 86400.0
                return cls.fromtimestamp(moment, tz)

        clocks = SimpleNamespace(datetime=Shifted, timezone=dt.timezone)
        monkeypatch.setattr(trusted_metadata_set, "datetime", clocks)

    return put


def test_with_a_clock_far_ahead_a_device_waits_and_loses_nothing(scene: Scene, device_days_off: Callable[[int], None]):
    scene.publish(2)
    device_days_off(10_000)
    with pytest.raises(RepositoryUnreachableError, match="this device's clock is wrong"):
        scene.device.update(TWO)
    device_days_off(0)
    assert scene.device.update(TWO) == model(2)


def test_with_a_clock_far_behind_a_freeze_goes_unnoticed_and_a_rollback_does_not(
    scene: Scene, device_days_off: Callable[[int], None]
):
    frozen = scene.copy("frozen")
    scene.publish(2)
    # To a device without a clock nothing expires: what it is shown for years is believed for years, as here.
    scene.mirror.folder = frozen
    device_days_off(-10_000)
    assert scene.device.update(ONE) == model(1)
    # Versions need no clock: what is older than what was seen is refused all the same, and so is what is not signed.
    scene.mirror.folder = scene.repository
    assert scene.device.update(TWO) == model(2)
    scene.mirror.folder = frozen
    with pytest.raises(RepositoryStaleError, match="older"):
        scene.device.update(ONE)
