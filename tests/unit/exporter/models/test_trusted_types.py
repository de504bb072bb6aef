import pytest
import skops.io

from exporter.models.model_file import parse_estimator
from exporter.models.trusted_types import trusted_types
from tests.unit.exporter.every_estimator import CLASSES, MULTIPLE, REFUSED, fitted, is_model

# skops itself cannot dump these.
UNSUPPORTED = {"Birch"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(set(CLASSES) - REFUSED - MULTIPLE - UNSUPPORTED))
def test_every_family_goes_through_a_skops_file_without_trust_in_anything_else(name):
    estimator, _ = fitted(name)
    data = skops.io.dumps(estimator)
    assert set(skops.io.get_untrusted_types(data=data)) <= set(trusted_types())
    if is_model(estimator):
        assert type(parse_estimator(data, name)) is type(estimator)


def test_nothing_that_runs_programs_is_trusted():
    harmless = {"builtins.abs", "collections.OrderedDict", "functools.partial"}
    libraries = ("numpy.", "scipy.", "sklearn.", "lightgbm.", "xgboost.")
    assert {name for name in trusted_types() if not name.startswith(libraries)} == harmless
    assert not [name for name in trusted_types() if any(word in name for word in ("load", "save", "memmap", "pickle"))]
