"""The page of the interface: it loads nothing, shows all of its document, and proposes what is answered."""

import secrets
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

import msgspec
import pytest

from edge_agent.bundle import MANIFEST_NAME, Feature, GoldenRow, parse_manifest
from tests.serving import INFER, running
from trainer.serving.keys import add_key
from trainer.serving.page import example_request, interface_page


class Page(HTMLParser):
    """Collects what a browser would fetch, what stands in the form's text, and the parts that a policy names."""

    def __init__(self, page):
        super().__init__()
        self.fetched, self.inside, self.texts, self.fields = [], "", [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.fetched += [value for name, value in attrs if name in {"src", "srcset", "href", "data", "action"}]
        self.inside = tag
        if tag == "input":
            self.fields.append(dict(attrs))

    def handle_data(self, data):
        self.texts.append((self.inside, data))

    def handle_endtag(self, tag):  # noqa: ARG002 - as HTMLParser calls it
        self.inside = ""

    def of(self, tag):
        return [text for inside, text in self.texts if inside == tag]


@pytest.fixture(scope="module")
def served(bundles):
    with running(bundles[1]) as service:
        status, page, headers = service.ask("GET", "/docs")
        assert status == 200
        assert headers["content-type"] == "text/html; charset=utf-8"
        yield service, Page(page.decode()), headers["content-security-policy"]


def test_it_loads_nothing_and_its_policy_lets_nothing_else_run(served):
    _, page, policy = served
    assert page.fetched == ["openapi.json"], "a link to the document, which no browser follows by itself"
    (script,), (style,) = page.of("script"), page.of("style")
    for name, text in (("script-src", script), ("style-src", style)):
        digest = b64encode(sha256(text.encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy


def test_it_shows_every_operation_with_its_answers_and_every_schema(served):
    service, page, _ = served
    document = service.ask("GET", "/openapi.json")[1]
    shown = [text for _, text in page.texts]
    assert len(document["paths"]) == 10
    for path, item in document["paths"].items():
        assert path in page.of("code")
        (operation,) = (item[method] for method in ("get", "post") if method in item)
        assert operation["summary"] in shown
        for code, response in operation["responses"].items():
            assert code in shown
            assert response["description"] in shown
    assert set(document["components"]["schemas"]) <= set(page.of("code"))


@pytest.mark.parametrize("kind", [1, "gaps"])
def test_the_request_that_it_proposes_is_answered(kind, bundles):
    with running(bundles[kind]) as service:
        page = Page(service.ask("GET", "/docs")[1].decode())
        proposals = page.of("textarea")
        assert len(proposals) == 2
        assert {field["value"] for field in page.fields if field.get("data-place") == "name"} == {"toy"}
        status, answer, _ = service.ask("POST", INFER, proposals[0])
    assert status == 200, answer


def test_a_category_is_proposed_by_its_name_and_a_missing_value_as_null(bundles):
    features = (Feature("a"), Feature("b", dtype="category", categories=("red", "blue")), Feature("c"))
    golden = (GoldenRow((1.5, 1.0, None), (0.5, 0.5)),)
    manifest = msgspec.structs.replace(manifest_of(bundles[1]), features=features, golden=golden)
    inputs = example_request(manifest)["inputs"]
    assert [(each["name"], each["datatype"], each["data"]) for each in inputs] == [
        ("a", "FP32", [1.5]),
        ("b", "BYTES", ["blue"]),
        ("c", "FP32", [None]),
    ]


def test_who_has_no_key_is_not_told_what_the_model_is_like(bundles, tmp_path):
    file = tmp_path / "keys"
    add_key(file, "shop", secrets.token_urlsafe)
    with running(bundles[1], keys=file) as service:
        page = Page(service.ask("GET", "/docs")[1].decode())
    assert [field for field in page.fields if field.get("type") == "password"]
    assert {field["value"] for field in page.fields if "data-place" in field} == {""}
    assert "toy" not in "".join(text for _, text in page.texts)


def test_names_of_features_are_text(bundles):
    manifest = manifest_of(bundles[1])
    hostile = "</textarea><script>alert(1)</script>"
    first, *others = manifest.features
    renamed = (msgspec.structs.replace(first, name=hostile), *others)
    with running(bundles[1]) as service:
        document = service.ask("GET", "/openapi.json")[1]
    page = interface_page(document, msgspec.structs.replace(manifest, features=renamed))
    assert hostile not in page
    assert page.count("<script") == 1
    assert hostile in "".join(Page(page).of("textarea"))


def manifest_of(bundle):
    return parse_manifest((bundle / MANIFEST_NAME).read_bytes())
