"""Secrets are left out by name, by look and by value."""

import json
import urllib.parse

import pytest

from edge_agent.redaction import LEFT_OUT, Plain, is_secret_key, redacted, redacted_text, secrets_in

SECRET = 'hunter/2"é x'


@pytest.mark.parametrize(
    ("key", "is_secret"),
    [
        ("password", True),
        ("mqtt_password", True),
        ("tls-key", True),
        ("apiToken", True),
        ("FIELDLOOP_SECRET", True),
        ("keepalive_s", False),
        ("host", False),
        ("monkey", False),
        ("path", False),
    ],
)
def test_a_secret_is_told_by_its_name(key: str, *, is_secret: bool):
    assert is_secret_key(key) is is_secret


def test_settings_keep_what_is_no_secret():
    settings: Plain = {
        "broker": {"host": "h", "port": 1, "password": SECRET, "key": "/etc/key.pem", "token": None},
        "url": "https://me:hunter2@host/path?sig=abc",
        "names": ["a", {"secret": ["x1234", "y1234"]}],
    }
    assert redacted(settings) == {
        "broker": {"host": "h", "port": 1, "password": LEFT_OUT, "key": LEFT_OUT, "token": None},
        "url": f"https://{LEFT_OUT}@host/path?{LEFT_OUT}",
        "names": ["a", {"secret": LEFT_OUT}],
    }
    assert secrets_in(settings) == {SECRET, "/etc/key.pem", "x1234", "y1234", "hunter2"}


def test_a_secret_s_value_is_found_however_it_is_written():
    written = [SECRET, json.dumps({"x": SECRET}), urllib.parse.quote(SECRET), urllib.parse.quote(SECRET, safe="")]
    text = redacted_text("\n".join(f"before {each} after" for each in written), frozenset({SECRET, "hunter"}))
    assert "hunter" not in text
    assert text.count("before") == text.count("after") == 4


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN PRIVATE KEY-----\nMIISECRET\n-----END PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\nMIISECRET",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nMIISECRET\n-----END OPENSSH PRIVATE KEY-----",
        "http://user:MIISECRET@host/x answered with 404",
        "https://MIISECRET@host",
        "https://me:MII@SECRET@host",
        "GET https://host/x?sig=MIISECRET&y=1 done",
        "Authorization: Bearer MIISECRET",
        'mqtt_password = "MIISECRET"',
        "api_key=MIISECRET",
        "'token': 'MIISECRET'",
    ],
)
def test_a_secret_is_told_by_its_look(text: str):
    told = redacted_text(f"first {text} ")
    assert "SECRET" not in told
    assert told.startswith("first ")


def test_plain_text_stays_as_it_is():
    text = "fetched toy/2: 812 bytes (variant: whole), at 12:30; http://127.0.0.1:8080/metadata/2.root.json: 404"
    assert redacted_text(text) == text
