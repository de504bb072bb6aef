"""Schemathesis asks a running service all that its OpenAPI document allows, and much that it does not."""

import json

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from tests.bundles import make_bundle
from tests.serving import GOOD, infer_body, running
from trainer.serving.limits import Limits

EXAMPLES = 40
# That a body fits the schema does not say that its shape fits its data, or that its rows fit the model.
NOT_HELD = ("positive_data_acceptance",)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = make_bundle(tmp_path_factory.mktemp("bundle"))
    with running(folder, Limits(max_rows=8, max_body_bytes=1 << 16)) as running_service:
        yield running_service


@pytest.fixture(scope="module")
def document(service):
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{service.port}/openapi.json")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2"),
        ("GET", "/v2/health/live"),
        ("GET", "/v2/health/ready"),
        ("GET", "/metrics"),
        ("GET", "/v2/models/{name}"),
        ("GET", "/v2/models/{name}/ready"),
        ("POST", "/v2/models/{name}/infer"),
        ("GET", "/v2/models/{name}/versions/{version}"),
        ("GET", "/v2/models/{name}/versions/{version}/ready"),
        ("POST", "/v2/models/{name}/versions/{version}/infer"),
    ],
)
def test_every_answer_is_one_of_the_document(document, service, method, path):
    operation = document[path][method]
    asked = []

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        case=st.one_of([operation.as_strategy(generation_mode=mode) for mode in GenerationMode]),
        is_there=st.sampled_from((True, True, True, False)),
        is_answered=st.booleans(),
    )
    def ask(case, is_there, is_answered):
        # Most of them ask a model that is there, so that more than its name is looked at.
        for name, there in (("name", "toy"), ("version", "1")):
            if is_there and name in (case.path_parameters or {}):
                case.path_parameters[name] = there
        if is_answered and isinstance(case.body, dict):
            case.body = case.body | json.loads(infer_body(GOOD)) | {"outputs": []}
        response = case.call_and_validate(excluded_checks=[CHECKS.get_one(name) for name in NOT_HELD])
        asked.append(response.status_code)

    ask()
    # Neither only refusals nor, where anything can be refused, only answers.
    assert 200 in asked
    assert "{" not in path or max(asked) > 200
    assert service.infer(GOOD)[0] == 200


def test_the_document_names_every_operation(document):
    assert len(list(document.get_all_operations())) == 10
