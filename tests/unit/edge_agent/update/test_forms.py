import pytest

from edge_agent.update.forms import Forms, parse_forms

SHA = "0" * 64


@pytest.mark.parametrize(
    ("custom", "forms"),
    [
        ({"is": "onnx-fp32", "compressed": "m.zst"}, Forms("m.zst")),
        ({"compressed": "m.zst", "deltas": {SHA: "m.from-1.zst"}}, Forms("m.zst", {SHA: "m.from-1.zst"})),
        ({}, Forms()),
        (None, Forms()),
        ("text", Forms()),
        ({"compressed": 3}, Forms()),
        ({"deltas": [1]}, Forms()),
        ({"compressed": "../x"}, Forms()),
        (
            {"compressed": "a/b", "deltas": {SHA: "../../x", "1": ".hidden", "2": "ok.zst"}},
            Forms(None, {"2": "ok.zst"}),
        ),
    ],
)
def test_forms_are_what_is_named_beside_the_file_and_nothing_elsewhere(custom: object, forms: Forms):
    assert parse_forms(custom) == forms
