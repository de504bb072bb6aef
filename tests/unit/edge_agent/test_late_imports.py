"""What a device never uses is not loaded, or not at once."""

import subprocess
import sys

PROGRAM = """
import sys
from edge_agent.late_imports import hidden, put_off
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
with hidden("typing_extensions"):
    put_off("msgspec.inspect")
    assert "typing_extensions" not in {n for n, m in sys.modules.items() if m is not None}
    try:
        import typing_extensions
    except ImportError:
        pass
    else:
        raise AssertionError("it was found")
assert "typing_extensions" not in sys.modules
import typing_extensions, msgspec
with hidden("typing_extensions"):
    import typing_extensions
assert "type_info" not in vars(msgspec.inspect), "loaded by the import"
assert callable(msgspec.inspect.type_info)
before = sys.modules["uuid"]
put_off("uuid")
assert sys.modules["uuid"] is before
"""


def test_a_module_that_was_put_off_is_loaded_by_its_first_use_and_one_that_is_hidden_is_not_found():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=30)
