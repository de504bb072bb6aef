import pytest

from exporter.repository.serving import parse_range, resolve_path


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "repository" / "metadata").mkdir(parents=True)
    (tmp_path / "repository" / "targets" / "m").mkdir(parents=True)
    (tmp_path / "repository" / "metadata" / "timestamp.json").write_text("{}")
    (tmp_path / "repository" / "metadata" / ".timestamp.json.x").write_text("half")
    (tmp_path / "repository" / "targets" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "repository" / "notes").write_text("not served")
    (tmp_path / "secret").write_text("secret")
    return tmp_path / "repository"


@pytest.mark.parametrize(
    "target", ["/metadata/timestamp.json", "/metadata/timestamp%2ejson", "/metadata/timestamp.json?x"]
)
def test_a_file_of_the_repository_is_found(folder, target):
    assert resolve_path(folder, target) == (folder / "metadata" / "timestamp.json").resolve()


@pytest.mark.parametrize(
    "target",
    [
        "",
        "/",
        "/notes",
        "/metadata",
        "/metadata/",
        "/metadata/absent.json",
        "/metadata/.timestamp.json.x",
        "/targets/link",
        "/metadata/../notes",
        "/metadata/../../secret",
        "/metadata/%2e%2e/%2e%2e/secret",
        "/metadata/..%2f..%2fsecret",
        "//metadata/timestamp.json",
        "//[metadata/timestamp.json",
        "/metadata/timestamp.json%00",
        "/metadata/" + "a" * 5000,
    ],
)
def test_nothing_else_is_found(folder, target):
    assert resolve_path(folder, target) is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-3", (0, 4)),
        ("bytes=4-", (4, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-30", (0, 10)),
        ("bytes=8-100", (8, 10)),
        ("bytes=-", None),
        ("lines=1-2", None),
        ("bytes=0-1,3-4", None),
    ],
)
def test_a_range_is_read_as_rfc_9110_says(header, expected):
    assert parse_range(header, 10) == expected


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=5-4", "bytes=-0"])
def test_a_range_outside_of_the_file_is_refused(header):
    with pytest.raises(ValueError, match="outside"):
        parse_range(header, 10)
