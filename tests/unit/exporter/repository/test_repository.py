import shutil
import threading
import time
from datetime import timedelta

import pytest
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    UnsignedMetadataError,
)
from tuf.api.exceptions import RepositoryError as TufError

from broker.messages import BundleRef
from edge_agent.errors import BundleError
from exporter.errors import AlreadyPublishedError, KeysError, RepositoryError
from exporter.repository.lifetimes import Lifetimes
from exporter.repository.refresh import refresh_timestamp
from exporter.repository.repository import init_repository, list_bundles, publish_bundle, unlist_bundle
from tests.unit.exporter.repositories import SetClock, fetch, open_client, write_bundle

MODEL = "digits/1/model.onnx"


@pytest.fixture
def clock():
    # TUF's client reads the machine's clock to judge expiry; the repository's clock must be near it.
    return SetClock(time.time())  # noqa: TID251 - the only moment that both can agree on


@pytest.fixture
def keys(tmp_path):
    return tmp_path / "keys"


@pytest.fixture
def repository(tmp_path, keys, clock):
    folder = tmp_path / "repository"
    init_repository(folder, keys, clock=clock)
    return folder


def publish(repository, keys, clock, bundle):
    return publish_bundle(bundle, repository, keys, clock=clock)


def alter(path):
    """Let metadata live a hundred years longer; its size stays."""
    path.write_bytes(
        path.read_bytes().replace(b'"expires": "20', b'"expires": "21').replace(b'"expires":"20', b'"expires":"21')
    )


@pytest.mark.usefixtures("repository")
def test_keys_are_readable_by_their_owner_only(keys):
    files = {str(p.relative_to(keys)): p.stat().st_mode & 0o777 for p in keys.rglob("*.pem")}
    assert files == dict.fromkeys(("root/root.pem", "snapshot.pem", "targets.pem", "timestamp.pem"), 0o600)


def test_a_key_that_others_can_read_is_refused(repository, keys, clock, tmp_path):
    (keys / "targets.pem").chmod(0o644)
    with pytest.raises(KeysError, match="chmod 600"):
        publish(repository, keys, clock, write_bundle(tmp_path / "b"))


def test_keys_inside_the_served_folder_are_refused(tmp_path, clock):
    with pytest.raises(RepositoryError, match="would be served"):
        init_repository(tmp_path / "r", tmp_path / "r" / "keys", clock=clock)


def test_a_repository_is_made_only_once(repository, tmp_path, clock):
    with pytest.raises(RepositoryError, match="already"):
        init_repository(repository, tmp_path / "other", clock=clock)


@pytest.mark.usefixtures("repository")
def test_keys_are_never_replaced(keys, tmp_path, clock):
    with pytest.raises(KeysError, match="never replaced"):
        init_repository(tmp_path / "second", keys, clock=clock)


def test_a_published_bundle_is_accepted_by_the_client(repository, keys, clock, tmp_path):
    assert publish(repository, keys, clock, write_bundle(tmp_path / "b")) == BundleRef("digits", 1)
    assert fetch(repository, tmp_path / "c", MODEL) == b"model"
    manifest = fetch(repository, tmp_path / "c", "digits/1/manifest.json")
    assert manifest == (tmp_path / "b" / "manifest.json").read_bytes()
    assert list_bundles(repository) == (BundleRef("digits", 1),)


def test_targets_say_in_signed_words_what_they_are(repository, keys, clock, tmp_path):
    publish(repository, keys, clock, write_bundle(tmp_path / "b"))
    info = open_client(repository, tmp_path / "c").get_targetinfo(MODEL)
    assert info is not None
    assert info.custom == {"bundle": "digits/1", "is": "onnx-fp32"}


def test_older_versions_stay_listed(repository, keys, clock, tmp_path):
    for version in (1, 2):
        publish(repository, keys, clock, write_bundle(tmp_path / f"b{version}", version, b"v%d" % version))
    assert fetch(repository, tmp_path / "c", MODEL) == b"v1"
    assert fetch(repository, tmp_path / "c", "digits/2/model.onnx") == b"v2"


def test_publishing_the_same_again_changes_nothing(repository, keys, clock, tmp_path):
    bundle = write_bundle(tmp_path / "b")
    publish(repository, keys, clock, bundle)
    before = {p: p.read_bytes() for p in repository.rglob("*") if p.is_file()}
    publish(repository, keys, clock, bundle)
    assert {p: p.read_bytes() for p in repository.rglob("*") if p.is_file()} == before


def test_the_same_version_with_other_content_is_refused(repository, keys, clock, tmp_path):
    publish(repository, keys, clock, write_bundle(tmp_path / "b"))
    with pytest.raises(AlreadyPublishedError, match="digits/1"):
        publish(repository, keys, clock, write_bundle(tmp_path / "other", content=b"other"))


def test_an_unlisted_bundle_is_gone_and_its_name_stays_taken(repository, keys, clock, tmp_path):
    bundle = write_bundle(tmp_path / "b")
    publish(repository, keys, clock, bundle)
    unlist_bundle(BundleRef("digits", 1), repository, keys, clock=clock)
    assert fetch(repository, tmp_path / "c", MODEL) is None
    with pytest.raises(AlreadyPublishedError):
        publish(repository, keys, clock, write_bundle(tmp_path / "other", content=b"other"))
    publish(repository, keys, clock, bundle)
    assert fetch(repository, tmp_path / "c", MODEL) == b"model"


def test_unlisting_one_version_spares_those_whose_number_starts_alike(repository, keys, clock, tmp_path):
    publish(repository, keys, clock, write_bundle(tmp_path / "b1", 1))
    publish(repository, keys, clock, write_bundle(tmp_path / "b12", 12))
    unlist_bundle(BundleRef("digits", 1), repository, keys, clock=clock)
    assert list_bundles(repository) == (BundleRef("digits", 12),)


def test_what_is_not_listed_cannot_be_unlisted(repository, keys, clock):
    with pytest.raises(RepositoryError, match="digits/7 is not listed"):
        unlist_bundle(BundleRef("digits", 7), repository, keys, clock=clock)


def test_a_variant_that_is_not_the_manifests_is_refused(repository, keys, clock, tmp_path):
    bundle = write_bundle(tmp_path / "b")
    (bundle / "model.onnx").write_bytes(b"modem")
    with pytest.raises(BundleError, match="export again"):
        publish(repository, keys, clock, bundle)
    assert list_bundles(repository) == ()


def test_one_altered_byte_of_a_variant_is_refused_by_the_client(repository, keys, clock, tmp_path):
    publish(repository, keys, clock, write_bundle(tmp_path / "b"))
    (file,) = repository.glob("targets/digits/1/*.model.onnx")
    file.write_bytes(b"modem")
    with pytest.raises(LengthOrHashMismatchError):
        fetch(repository, tmp_path / "c", MODEL)


@pytest.mark.parametrize("file", ["timestamp.json", "2.snapshot.json", "2.targets.json", "1.model-digits.json"])
def test_altered_metadata_is_refused_by_the_client(repository, keys, clock, tmp_path, file):
    publish(repository, keys, clock, write_bundle(tmp_path / "b"))
    alter(repository / "metadata" / file)
    with pytest.raises(TufError):
        fetch(repository, tmp_path / "c", MODEL)


def test_altered_metadata_is_not_signed_again(repository, keys, clock, tmp_path):
    alter(repository / "metadata" / "1.targets.json")
    with pytest.raises(RepositoryError, match="not signed by this repository's targets key"):
        publish(repository, keys, clock, write_bundle(tmp_path / "b"))


def test_foreign_keys_are_refused_before_anything_is_written(repository, clock, tmp_path):
    init_repository(tmp_path / "foreign", tmp_path / "foreign-keys", clock=clock)
    before = sorted(repository.rglob("*"))
    with pytest.raises(KeysError, match="not the targets key"):
        publish(repository, tmp_path / "foreign-keys", clock, write_bundle(tmp_path / "b"))
    assert sorted(repository.rglob("*")) == before


def test_a_repository_signed_by_other_keys_is_refused_by_the_client(repository, clock, tmp_path):
    init_repository(tmp_path / "foreign", tmp_path / "foreign-keys", clock=clock)
    publish(tmp_path / "foreign", tmp_path / "foreign-keys", clock, write_bundle(tmp_path / "b"))
    with pytest.raises(UnsignedMetadataError):
        fetch(tmp_path / "foreign", tmp_path / "c", MODEL, root=(repository / "metadata" / "1.root.json").read_bytes())


def test_older_metadata_is_refused_by_a_client_that_saw_newer(repository, keys, clock, tmp_path):
    shutil.copytree(repository, tmp_path / "old")
    publish(repository, keys, clock, write_bundle(tmp_path / "b"))
    fetch(repository, tmp_path / "c", MODEL)
    with pytest.raises(BadVersionNumberError):
        fetch(tmp_path / "old", tmp_path / "c", MODEL)


def test_a_repository_frozen_past_its_timestamps_life_is_refused(tmp_path, keys, clock):
    clock.now_s -= 2 * 86400
    init_repository(tmp_path / "r", keys, clock=clock)
    with pytest.raises(ExpiredMetadataError):
        fetch(tmp_path / "r", tmp_path / "c", MODEL)
    clock.now_s += 2 * 86400
    assert refresh_timestamp(tmp_path / "r", keys, clock=clock).signed == ("timestamp",)
    assert fetch(tmp_path / "r", tmp_path / "c", MODEL) is None


def test_refreshing_renews_each_role_that_has_lived_half_its_life(tmp_path, keys, clock):
    lifetimes = Lifetimes(root=timedelta(days=30))
    clock.now_s -= 60 * 86400
    init_repository(tmp_path / "r", keys, clock=clock, lifetimes=lifetimes)
    publish(tmp_path / "r", keys, clock, write_bundle(tmp_path / "b"))
    clock.now_s += 60 * 86400
    due = refresh_timestamp(tmp_path / "r", keys, clock=clock, lifetimes=lifetimes)
    assert due.signed == ("root", "targets", "model-digits", "snapshot", "timestamp")
    assert due.waiting == ()
    assert fetch(tmp_path / "r", tmp_path / "c", MODEL) == b"model"
    assert refresh_timestamp(tmp_path / "r", keys, clock=clock, lifetimes=lifetimes).signed == ("timestamp",)


def test_two_publishers_at_once_lose_nothing(repository, keys, clock, tmp_path):
    bundles = [write_bundle(tmp_path / f"b{n}", n) for n in range(1, 9)]
    threads = [threading.Thread(target=publish, args=(repository, keys, clock, bundle)) for bundle in bundles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [ref.version for ref in list_bundles(repository)] == list(range(1, 9))


def test_a_folder_that_is_no_repository_is_named(tmp_path, keys, clock):
    with pytest.raises(RepositoryError, match="fieldloop repository init"):
        publish(tmp_path / "nothing", keys, clock, write_bundle(tmp_path / "b"))


def test_a_missing_target_file_is_a_bad_road_to_the_client(repository, keys, clock, tmp_path):
    publish(repository, keys, clock, write_bundle(tmp_path / "b"))
    (file,) = repository.glob("targets/digits/1/*.model.onnx")
    file.unlink()
    with pytest.raises(DownloadError):
        fetch(repository, tmp_path / "c", MODEL)
