"""API keys: only their hashes are kept, a request without a known one is refused, a removed one is invalid."""

import secrets
import stat

import pytest

from tests.serving import GOOD, running
from tests.waiting import wait_until
from trainer.serving.errors import ServingError
from trainer.serving.keys import add_key, load_keys


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys"


def test_a_key_is_known_by_its_name_and_is_not_in_the_file(file):
    first, second = (add_key(file, name, secrets.token_urlsafe) for name in ("shop", "lab"))
    keys = load_keys(file)
    assert (keys.name_of(first), keys.name_of(second), keys.name_of(first + "x")) == ("shop", "lab", None)
    assert first not in file.read_text(encoding="utf-8")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len({first, second}) == 2


def test_a_name_is_taken_once(file):
    add_key(file, "shop", secrets.token_urlsafe)
    with pytest.raises(ServingError, match="there is a key 'shop' already"):
        add_key(file, "shop", secrets.token_urlsafe)
    with pytest.raises(ServingError, match="no name of a key"):
        add_key(file, "two words", secrets.token_urlsafe)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no key in it"),
        ("# nothing\n\n", "no key in it"),
        ("shop secret\n", "line 1: not NAME and SHA-256"),
        (f"shop {'a' * 64}\nshop {'b' * 64}\n", "line 2: the key 'shop' is there twice"),
    ],
)
def test_a_file_without_a_good_key_is_refused(file, text, said):
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ServingError, match=said):
        load_keys(file)


def test_a_request_needs_a_known_key_and_health_needs_none(bundles, file):
    key = add_key(file, "shop", secrets.token_urlsafe)
    with running(bundles[1], keys=file) as service:
        for path in ("/v2", "/metrics", "/v2/models/toy", "/v2/models/toy/ready"):
            status, answer, told = service.ask("GET", path)
            assert (status, told["www-authenticate"]) == (401, "Bearer")
            assert "Authorization: Bearer KEY" in answer["error"]
        assert service.ask("GET", "/v2/health/ready")[0] == 200
        assert service.infer(GOOD)[0] == 401
        assert service.infer(GOOD, headers={"Authorization": "Bearer wrong"})[0] == 401
        assert service.infer(GOOD, headers={"Authorization": f"Basic {key}"})[0] == 401
        assert service.infer(GOOD, headers={"Authorization": f"Bearer {key}"})[0] == 200
        assert service.infer(GOOD, headers={"X-API-Key": key})[0] == 200
        figures = service.ask("GET", "/metrics", headers={"X-API-Key": key})[1].decode()
    assert '{key="shop",model="toy",status="200",version="1"} 2.0' in figures
    assert '{key="",model="toy",status="401",version="1"} 3.0' in figures


def test_a_key_that_is_removed_from_the_file_is_invalid_soon(bundles, file):
    keys = {name: add_key(file, name, secrets.token_urlsafe) for name in ("shop", "lab")}
    with running(bundles[1], keys=file) as service:
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("shop")]
        file.write_text("\n".join(lines), encoding="utf-8")
        wait_until(lambda: service.infer(GOOD, headers={"X-API-Key": keys["shop"]})[0] == 401, what="it is invalid")
        assert service.infer(GOOD, headers={"X-API-Key": keys["lab"]})[0] == 200
        # A file that cannot be taken opens nothing to everybody.
        looked = service.shelf.asked
        file.write_text("", encoding="utf-8")
        wait_until(lambda: service.shelf.asked > looked + 1, what="the file is read again")
        assert service.infer(GOOD)[0] == 401


def test_without_keys_other_machines_may_ask_only_where_that_is_said(bundles):
    with (
        pytest.raises(ServingError, match=r"--host 0\.0\.0\.0: everybody .* say --open"),
        running(bundles[1], host="0.0.0.0"),  # noqa: S104 - it is refused
    ):
        pass
    with running(bundles[1], host="0.0.0.0", is_open=True) as service:  # noqa: S104 - the test listens on loopback
        assert service.infer(GOOD)[0] == 200
