import http.client
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tuf.ngclient.updater import Updater

from exporter.errors import ServingError
from exporter.repository.repository import init_repository, publish_bundle
from exporter.repository.serving import start_repository_server
from tests.unit.exporter.repositories import SetClock, write_bundle
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving")
    clock = SetClock(time.time())  # noqa: TID251 - TUF's client judges expiry by the machine's clock
    init_repository(folder / "repository", folder / "keys", clock=clock)
    bundle = write_bundle(folder / "bundle", content=b"0123456789")
    publish_bundle(bundle, folder / "repository", folder / "keys", clock=clock)
    return folder / "repository"


@pytest.fixture(scope="module")
def server(repository):
    server = start_repository_server(repository)
    yield server
    server.stop()


def request(server, method, path, headers=None):
    parts = urlsplit(server.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def model_path(repository):
    (file,) = (repository / "targets").rglob("*.model.onnx")
    return f"/{file.relative_to(repository)}"


def test_tufs_client_gets_a_bundle_over_http(server, repository, tmp_path):
    client = Updater(
        str(tmp_path),
        f"{server.url}/metadata/",
        str(tmp_path),
        f"{server.url}/targets/",
        bootstrap=(repository / "metadata" / "root.json").read_bytes(),
    )
    client.refresh()
    info = client.get_targetinfo("digits/1/model.onnx")
    assert info is not None
    assert Path(client.download_target(info)).read_bytes() == b"0123456789"


def test_a_range_gives_its_bytes_alone(server, repository):
    status, headers, body = request(server, "GET", model_path(repository), {"Range": "bytes=4-"})
    assert (status, body) == (206, b"456789")
    assert headers["Content-Range"] == "bytes 4-9/10"


def test_a_range_past_the_end_is_refused(server, repository):
    status, headers, _ = request(server, "GET", model_path(repository), {"Range": "bytes=10-"})
    assert (status, headers["Content-Range"]) == (416, "bytes */10")


def test_head_tells_the_size_without_a_body(server, repository):
    status, headers, body = request(server, "HEAD", model_path(repository))
    assert (status, headers["Content-Length"], body) == (200, "10", b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_but_get_and_head_is_answered(server, repository, method):
    assert request(server, method, model_path(repository))[0] == 501


@pytest.mark.parametrize("path", ["/", "/metadata/../../keys/root.pem", "/metadata/%2e%2e/%2e%2e/keys/root.pem"])
def test_no_path_leads_out(server, path):
    assert request(server, "GET", path)[0] == 404


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_it_stops_when_told_to(repository):
    server = start_repository_server(repository)
    server.stop()
    assert not is_alive(server.pid)


def test_it_dies_with_a_parent_that_is_killed(repository):
    program = (
        "import sys, signal; from pathlib import Path; from exporter.repository.serving import start_repository_server;"
        "print(start_repository_server(Path(sys.argv[1])).pid, flush=True); signal.pause()"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(repository)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert is_alive(pid)
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    wait_until(lambda: not is_alive(pid), timeout_s=10)


def test_a_taken_port_is_an_error_with_its_number(server, repository):
    port = urlsplit(server.url).port
    with pytest.raises(ServingError, match=str(port)):
        start_repository_server(repository, port)
