"""The update repository: a folder of signed files (TUF, consistent snapshots) that any static server can serve.

Layout: ``metadata/`` with ``N.root.json``, ``N.targets.json`` (the models), ``N.model-NAME.json`` (the bundles of one
model), ``N.snapshot.json``, ``timestamp.json``, ``root.json`` (the newest root, to be given to devices by hand), and
``targets/<name>/<version>/<sha256>.<file>``. Every change writes its new files first and ``timestamp.json`` last: a cut
at any byte leaves the old state served, and the next change starts from what the timestamp lists.
"""

import logging
from pathlib import Path
from typing import Final

from tuf.api.metadata import (  # type: ignore[attr-defined] # its documented names, which it does not re-export
    Metadata,
    Root,
    Snapshot,
    Targets,
    Timestamp,
)

from broker.messages import BundleRef
from edge_agent.bundle import MANIFEST_NAME, Manifest, parse_manifest
from edge_agent.clock import Clock
from edge_agent.errors import BundleError
from exporter.errors import AlreadyPublishedError, RepositoryError
from exporter.repository.bundle_targets import (
    TARGETS,
    BundleFiles,
    FormSizes,
    drop_old_deltas,
    load_bundle,
    load_published,
    read_target,
    sizes_of,
    targets_of,
    write_targets,
)
from exporter.repository.delegation import delegate, is_delegated, list_of, lists_in, role_of, set_unlisted, unlisted_in
from exporter.repository.keys import ROOT_KEYS, KeyFolders, Keyring, folders_of, make_keys, open_keyring
from exporter.repository.lifetimes import DEFAULT_LIFETIMES, Lifetimes, moment
from exporter.repository.listing import (
    METADATA,
    Listing,
    is_repository,
    load_listing,
    locked,
    renew_roles,
    write_listing,
    write_root,
)
from exporter.repository.roles import ONE_KEY, ONLINE, Quorum, sign

logger = logging.getLogger(__name__)

# Of so many versions a rollout may be on its way: the newest, and the one that it takes the place of.
_NEWEST: Final = 2


def root_of(repository: Path) -> Path:
    """Return the path of the root that devices must be given."""
    return repository / METADATA / "root.json"


def init_repository(
    folder: Path,
    keys_folder: Path,
    *,
    clock: Clock,
    lifetimes: Lifetimes = DEFAULT_LIFETIMES,
    root_keys_folder: Path | None = None,
    root: Quorum = ONE_KEY,
    targets: Quorum = ONE_KEY,
    root_passphrase: bytes | None = None,
) -> Path:
    """Make an empty repository and its keys; return the path of the root that devices must be given.

    Args:
        folder: of the repository.
        keys_folder: for the keys that are needed to publish.
        clock: tells what is a lifetime from now.
        lifetimes: how long metadata is believed.
        root_keys_folder: for the keys of the root, which publishing never needs; by default ``root`` in `keys_folder`.
        root: how many root keys, and how many of them must sign.
        targets: the same for the keys that say who lists which model.
        root_passphrase: encrypts the keys of the root; None: they are not encrypted.

    Raises:
        RepositoryError: a repository is there already, or the keys would lie where they are served.
        KeysError: a keys folder already holds a key, or the passphrase is too short.
    """
    if is_repository(folder):
        raise RepositoryError(f"{folder} is a repository already")
    root_keys_folder = keys_folder / ROOT_KEYS if root_keys_folder is None else root_keys_folder
    for place in (keys_folder, root_keys_folder):
        if place.resolve().is_relative_to(folder.resolve()):
            raise RepositoryError(f"{place} lies inside {folder}: the keys would be served; choose another folder")
    quorums = {"root": root, "targets": targets, "snapshot": ONE_KEY, "timestamp": ONE_KEY}
    for role, quorum in quorums.items():
        quorum.verify(role)
    signers = {"root": make_keys(root_keys_folder, "root", root.keys, passphrase=root_passphrase)}
    signers |= {role: make_keys(keys_folder, role, quorums[role].keys) for role in ONLINE}
    (folder / METADATA).mkdir(parents=True, exist_ok=True)
    (folder / TARGETS).mkdir(exist_ok=True)
    now = moment(clock)
    first = Root(consistent_snapshot=True, expires=now + lifetimes.root)
    for role, quorum in quorums.items():
        for signer in signers[role]:
            first.add_key(signer.public_key, role)
        first.roles[role].threshold = quorum.threshold
    listing = Listing(
        Metadata(first),
        Metadata(Timestamp(expires=now + lifetimes.timestamp)),
        Metadata(Snapshot(expires=now + lifetimes.snapshot)),
        Metadata(Targets(expires=now + lifetimes.targets)),
    )
    sign(listing.root, signers["root"])
    write_root(folder, listing.root)
    write_listing(folder, listing, {role: signers[role] for role in ONLINE})
    return root_of(folder)


def publish_bundle(
    bundle_folder: Path,
    repository: Path,
    keys: KeyFolders,
    *,
    clock: Clock,
    lifetimes: Lifetimes = DEFAULT_LIFETIMES,
) -> BundleRef:
    """List a bundle's manifest and variants as signed targets. Publishing the same content again changes nothing.

    The first bundle of a model makes the model's role and its key, which takes the keys of the targets. Every other
    one takes the keys of its model, the snapshot and the timestamp.

    Raises:
        BundleError: the folder is not a bundle, or a file is not the one that its manifest names.
        AlreadyPublishedError: this version was published with other content.
        RepositoryError: no repository, or one that its own keys did not sign.
        KeysError: a key is missing, or not the repository's.
    """
    bundle = load_bundle(bundle_folder)
    ref = bundle.manifest.ref
    role = role_of(ref.name)
    with locked(repository):
        listing = load_listing(repository)
        if _is_listed(listing, bundle):
            return ref
        ring = open_keyring(folders_of(keys))
        changed = ["snapshot", "timestamp", role]
        if not is_delegated(listing, ref.name):
            changed.append("targets")
            listing.signers_of(("targets", "snapshot", "timestamp"), ring)  # before a key is made for nothing
            ring = _with_new_role(listing, ref.name, ring, ONE_KEY)
        signers = listing.signers_of(changed, ring)
        listed = listing.models[role].signed
        contents = targets_of(bundle, _previous(repository, listed, ref))
        write_targets(repository, contents)
        listed.targets |= {target.path: target for target, _ in contents}
        drop_old_deltas(listed, _NEWEST)
        set_unlisted(listed, {name: digest for name, digest in unlisted_in(listed).items() if name != str(ref)})
        renew_roles(listing, changed, moment(clock), lifetimes)
        write_listing(repository, listing, signers)
    return ref


def delegate_model(
    model: str,
    repository: Path,
    keys: KeyFolders,
    *,
    quorum: Quorum,
    clock: Clock,
    lifetimes: Lifetimes = DEFAULT_LIFETIMES,
) -> str:
    """Make a model's role and its keys before anything of it is published; return the role.

    Raises:
        BundleError: no model may be named so.
        RepositoryError: the model has its role already, or the repository is not what its keys signed.
        KeysError: a key is missing, or not the repository's.
    """
    quorum.verify(role_of(model))
    with locked(repository):
        listing = load_listing(repository)
        ring = open_keyring(folders_of(keys))
        listing.signers_of(ONLINE, ring)
        ring = _with_new_role(listing, model, ring, quorum)
        changed = (*ONLINE, role_of(model))
        signers = listing.signers_of(changed, ring)
        renew_roles(listing, changed, moment(clock), lifetimes)
        write_listing(repository, listing, signers)
    return role_of(model)


def unlist_bundle(
    ref: BundleRef, repository: Path, keys: KeyFolders, *, clock: Clock, lifetimes: Lifetimes = DEFAULT_LIFETIMES
) -> None:
    """Take a bundle off the list, so that no device accepts it any more; its files and its name stay taken.

    Raises:
        RepositoryError: it is not listed, or the repository is not what its keys signed.
        KeysError: a key is missing, or not the repository's.
    """
    with locked(repository):
        listing = load_listing(repository)
        role, listed = list_of(listing, ref.name)
        manifest = listed.targets.get(f"{ref}/{MANIFEST_NAME}")
        if manifest is None:
            raise RepositoryError(f"{ref} is not listed in {repository}")
        changed = ("snapshot", "timestamp", role)
        signers = listing.signers_of(changed, open_keyring(folders_of(keys)))
        listed.targets = {path: target for path, target in listed.targets.items() if not path.startswith(f"{ref}/")}
        set_unlisted(listed, unlisted_in(listed) | {str(ref): manifest.hashes["sha256"]})
        renew_roles(listing, changed, moment(clock), lifetimes)
        write_listing(repository, listing, signers)


def list_bundles(repository: Path) -> tuple[BundleRef, ...]:
    """Return the bundles that are listed now, by name and version; raise RepositoryError as `publish_bundle` does."""
    paths = [path.split("/") for listed in lists_in(load_listing(repository)) for path in listed.targets]
    return tuple(sorted(BundleRef(name, int(version)) for name, version, file in paths if file == MANIFEST_NAME))


def load_listed_manifest(repository: Path, ref: BundleRef) -> Manifest | None:
    """Return the manifest of a bundle that is listed now, None when it is not listed, or nothing is.

    Raises:
        RepositoryError: one that its own keys did not sign.
        BundleError: its file is not the one that was signed.
    """
    if not is_repository(repository):
        return None
    _, listed = list_of(load_listing(repository), ref.name)
    target = listed.targets.get(f"{ref}/{MANIFEST_NAME}")
    return None if target is None else parse_manifest(read_target(repository, target))


def listed_sizes(repository: Path, ref: BundleRef) -> tuple[FormSizes, ...]:
    """Return what a listed bundle's files cost on their way; raise RepositoryError as `publish_bundle` does."""
    return sizes_of(list_of(load_listing(repository), ref.name)[1], ref)


def _is_listed(listing: Listing, bundle: BundleFiles) -> bool:
    """Tell whether a bundle is listed; raise AlreadyPublishedError when its name is taken by another one."""
    ref = bundle.manifest.ref
    _, listed = list_of(listing, ref.name)
    manifest = listed.targets.get(f"{ref}/{MANIFEST_NAME}")
    known = manifest.hashes["sha256"] if manifest is not None else unlisted_in(listed).get(str(ref))
    if known not in {None, bundle.manifest_sha256}:
        raise AlreadyPublishedError(f"{ref} was published with other content; a version never changes, take a new one")
    return manifest is not None


def _with_new_role(listing: Listing, model: str, ring: Keyring, quorum: Quorum) -> Keyring:
    """Give a model its role with new keys; return the keyring with them."""
    made = make_keys(ring.folders[0], role_of(model), quorum.keys, beside_others=True)
    delegate(listing, model, [signer.public_key for signer in made], quorum.threshold)
    return open_keyring(ring.folders)


def _previous(repository: Path, listed: Targets, ref: BundleRef) -> BundleFiles | None:
    """Return the listed bundle before this one, None where there is none that can be used."""
    paths = [path.split("/") for path in listed.targets]
    versions = [int(version) for _, version, file in paths if file == MANIFEST_NAME and int(version) < ref.version]
    if not versions:
        return None
    before = BundleRef(ref.name, max(versions))
    try:
        return load_published(repository, listed, before)
    except (BundleError, KeyError) as error:
        # What is published now does not depend on it: devices fetch whole files.
        logger.warning("no deltas from %s: %s", before, error)
        return None
