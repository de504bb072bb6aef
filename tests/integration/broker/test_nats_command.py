"""`fieldloop broker up --nats` runs a cluster on this machine, which follows the fleet's identities by itself."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from broker.cli import app
from broker.client import Endpoint
from broker.errors import LinkError
from broker.identity.names import Role
from broker.servers.bare_client import BareClient, RefusedError
from broker.servers.nats import find_nats_server
from tests.fleet_broker import HOST, Credentials, TestFleet
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(find_nats_server() is None, reason="no nats-server here: apt-get install nats-server")
ENOUGH_S = 60.0


@contextlib.contextmanager
def cluster_up(fleet: TestFleet, *others: str) -> Iterator[tuple["subprocess.Popen[str]", list[dict[str, int]]]]:
    """Run the command; give it and what it told of each node."""
    nodes = [word for n in (1, 2, 3) for word in ("--nats", f"n{n}={HOST}:{free_port()}")]
    code = "import logging; logging.basicConfig(); from broker.cli import app; app()"
    command = [sys.executable, "-c", code, "broker", "up", "--fleet", str(fleet.path), *nodes, "--json", *others]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, [json.loads(process.stdout.readline()) for _ in range(3)]
        finally:
            process.terminate()


def is_let_in(told: dict[str, int], who: Credentials) -> bool:
    try:
        BareClient(Endpoint(HOST, told["port"]), "x", tls=who.context(), timeout_s=20).close()
    except RefusedError:
        return False
    except LinkError:  # The cluster has no leader yet.
        return False
    return True


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_it_lets_in_who_enrols_and_cuts_off_who_is_revoked_by_itself_and_bears_the_death_of_a_node(tmp_path):
    fleet = TestFleet(tmp_path)
    first = fleet.issue(Role.DEVICE, "press-1")
    with cluster_up(fleet) as (process, nodes):
        wait_until(lambda: is_let_in(nodes[0], first), ENOUGH_S, "the cluster serves")
        late = fleet.issue(Role.DEVICE, "press-2")
        wait_until(lambda: all(is_let_in(told, late) for told in nodes), ENOUGH_S, "the new device is let in")
        link = BareClient(Endpoint(HOST, nodes[1]["port"]), "y", tls=first.context(), timeout_s=20)
        fleet.revoke(Role.DEVICE, "press-1")
        assert link.is_cut_off(ENOUGH_S)
        assert not is_let_in(nodes[1], first)
        os.kill(nodes[2]["pid"], signal.SIGKILL)
        wait_until(lambda: is_let_in(nodes[0], late), ENOUGH_S, "two nodes serve")
        later = fleet.issue(Role.DEVICE, "press-3")
        wait_until(lambda: is_let_in(nodes[0], later), ENOUGH_S, "the list is still followed")
        process.terminate()
        _, errors = process.communicate(timeout=ENOUGH_S)
        assert process.returncode == 0
        assert "node n3 ended with code -9, 2 live" in errors
        for told in nodes:
            with pytest.raises(ProcessLookupError):
                os.kill(told["pid"], 0)


@pytest.mark.parametrize("others", [[], ["--fleet", "f", "--port", "1883"], ["--fleet", "f", "--exact"]])
def test_what_does_not_go_with_a_cluster_is_refused(others):
    result = CliRunner().invoke(app, ["broker", "up", "--nats", "n1=127.0.0.1", *others])
    assert result.exit_code == 1
    assert "--nats needs --fleet" in result.output
