"""A store's views have versions that all see alike; what would break their users is refused."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from tests.unit.trainer.features.small_views import HOURLY, MACHINE
from trainer.errors import DataError, ProjectError
from trainer.features.storage.address import StoreFiles
from trainer.features.views.catalogue import Catalogue
from trainer.features.views.view import Entity, FeatureView, Source, ViewFeature, verify_view

LOAD, PARTS = HOURLY.features
replace = msgspec.structs.replace


@pytest.fixture(params=["folder", "memory"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "folder" else f"memory://{tmp_path.name}"


def test_a_view_is_known_to_all_who_have_the_address(address: str) -> None:
    assert Catalogue(StoreFiles(address)).register(HOURLY).version == 1
    other = Catalogue(StoreFiles(address))
    assert other.names() == ("hourly",)
    assert other.find("hourly").view == HOURLY
    assert other.register(HOURLY).version == 1


@pytest.mark.parametrize(
    "changed",
    [
        replace(HOURLY, features=(LOAD, PARTS, ViewFeature(name="more"))),
        replace(HOURLY, features=(PARTS, replace(LOAD, description="other", range=None))),
        replace(HOURLY, ttl_s=None, source=Source(path=("rows.csv",))),
    ],
)
def test_a_change_that_breaks_nobody_is_a_new_version_beside_the_old_one(address: str, changed: FeatureView) -> None:
    catalogue = Catalogue(StoreFiles(address))
    catalogue.register(HOURLY)
    assert catalogue.register(changed).version == 2
    assert catalogue.find("hourly").view == changed
    assert catalogue.find("hourly", 1).view == HOURLY


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (replace(HOURLY, features=(LOAD,)), "'parts' would be gone"),
        (replace(HOURLY, features=(LOAD, replace(PARTS, dtype="float"))), "was int, and would be float"),
        (replace(HOURLY, features=(replace(LOAD, unit="W"), PARTS)), "was in 'kW'"),
        (replace(HOURLY, entities=(replace(MACHINE, dtype="int"),)), "machine_id (text)"),
    ],
)
def test_a_change_that_breaks_its_users_is_refused(tmp_path: Path, changed: FeatureView, told: str) -> None:
    catalogue = Catalogue(StoreFiles(str(tmp_path)))
    catalogue.register(HOURLY)
    with pytest.raises(ProjectError) as refusal:
        catalogue.register(changed)
    assert told in str(refusal.value)
    assert "another name" in str(refusal.value)
    assert catalogue.versions("hourly") == (1,)


def test_two_who_register_at_once_make_two_versions(tmp_path: Path) -> None:
    catalogue = Catalogue(StoreFiles(str(tmp_path)))
    views = [replace(HOURLY, description=f"by {number}") for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        versions = [each.version for each in pool.map(catalogue.register, views)]
    assert sorted(versions) == list(range(1, 9))
    assert {catalogue.find("hourly", version).view for version in versions} == set(views)


def test_a_damaged_file_of_a_view_is_told(tmp_path: Path) -> None:
    catalogue = Catalogue(StoreFiles(str(tmp_path)))
    catalogue.register(HOURLY)
    (tmp_path / "views" / "hourly" / "000001.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        catalogue.find("hourly")


@pytest.mark.parametrize(
    ("view", "told"),
    [
        (replace(HOURLY, name="Hourly"), "small letters"),
        (replace(HOURLY, entities=()), "no entity"),
        (replace(HOURLY, features=()), "no feature"),
        (replace(HOURLY, features=(LOAD, ViewFeature(name="Load"))), "occurs 2 times"),
        (replace(HOURLY, features=(ViewFeature(name="__known"),)), "no name of a column"),
        (replace(HOURLY, features=(replace(LOAD, range=(1.0, 1.0)),)), "is empty"),
        (replace(HOURLY, features=(replace(LOAD, dtype="text"),)), "has no range"),
        (replace(HOURLY, source=Source(path=("a",), fleet="samples")), "not several"),
        (replace(HOURLY, source=Source(query="select 1")), "go together"),
        (replace(HOURLY, source=Source(zone="Europe/Zurrich")), "no time zone"),
        (replace(HOURLY, entities=(MACHINE, Entity(name="b", key="MACHINE_ID"))), "occurs 2 times"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(view: FeatureView, told: str) -> None:
    with pytest.raises(ProjectError) as refusal:
        verify_view(view)
    assert told in str(refusal.value)
