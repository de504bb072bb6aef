"""A module that was put off is loaded by its first use."""

import subprocess
import sys

PROGRAM = """
import sys
from edge_agent.late_imports import put_off
put_off("urllib.request", "uuid")
import urllib.request, uuid
assert "http.client" not in sys.modules, "loaded by the import"
assert len(uuid.uuid4().bytes) == 16
assert "http.client" not in sys.modules, "loaded by another's use"
assert callable(urllib.request.getproxies)
assert "http.client" in sys.modules
from urllib.request import Request
import urllib
assert sys.modules["urllib.request"] is urllib.request and urllib.request.Request is Request
before = sys.modules["uuid"]
put_off("uuid")
assert sys.modules["uuid"] is before
"""


def test_a_module_that_was_put_off_is_loaded_by_its_first_use_and_not_by_its_import():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=30)
