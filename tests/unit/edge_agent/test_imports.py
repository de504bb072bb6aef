"""What an agent with a native table has loaded once it scores: what it does not need costs memory while it runs."""

import hashlib
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from edge_agent.bundle import MANIFEST_NAME, encode_manifest
from edge_agent.release import VERSION
from edge_agent.update.record import Content
from edge_agent.update.slots import SlotStore, empty_slot
from tests.unit.edge_agent.examples import classification_manifest, variant_of, write_native_classifier

# The runtimes of other variants, what only the updater's child needs, and what was found to cost much for little.
UNWANTED = {
    "ai_edge_litert",
    "argparse",
    "cryptography",
    "ctypes",
    "dataclasses",
    "difflib",
    "email",
    "http",
    "importlib.metadata",
    "inspect",
    "numpy",
    "onnxruntime",
    "requests",
    "securesystemslib",
    "shutil",
    "statistics",
    "stringprep",
    "subprocess",
    "sysconfig",
    "tempfile",
    "tflite_runtime",
    "tuf",
    "typing_extensions",
    "urllib3",
}

# Runs the agent until its first answer is written, stops it as a service manager does, and tells what is loaded.
PROGRAM = """
import json, os, pathlib, signal, sys, threading
from edge_agent.cli import main
answers = pathlib.Path(sys.argv[2])
ticks = threading.Event()
def stop_after_the_first_answer():
    for _ in range(200):
        if answers.exists() and answers.stat().st_size:
            break
        ticks.wait(0.1)
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=stop_after_the_first_answer, daemon=True).start()
code = main(["run", "--settings", sys.argv[1]])
print(json.dumps([code, answers.stat().st_size, sorted(sys.modules)]))
"""


# What is not needed for the first row: the network, what is written behind it, and what took long for little.
LATER = {
    "_hashlib",
    "broker.client",
    "broker.packs",
    "edge_agent.housekeeping",
    "edge_agent.recorder",
    "json",
    "selectors",
    "socket",
    "ssl",
    "zlib",
}

# Runs the agent until it begins with all that is not scoring, and tells what is loaded by then.
EARLY_PROGRAM = """
import os, sys
class Watch:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "edge_agent.upkeep":
            print(*sys.modules, flush=True)
            os._exit(0)
sys.meta_path.insert(0, Watch)
from edge_agent.cli import main
main(["run", "--settings", sys.argv[1]])
"""


def write_device(folder: Path, port: int) -> Path:
    """Write a state folder with a committed native bundle, rows, and settings; return the settings' file."""
    slot = SlotStore(folder / "state").folder("a")
    empty_slot(slot)
    variant = variant_of(write_native_classifier(slot / "model.native"), "native", "native")
    manifest = classification_manifest(variants=(variant,))
    (slot / MANIFEST_NAME).write_bytes(encode_manifest(manifest))
    digest = hashlib.sha256(encode_manifest(manifest)).hexdigest()
    SlotStore(folder / "state").mark_committed("a", Content(manifest.ref, "native", digest), 1)
    (folder / "rows.csv").write_text("temperature,wind\n" + "10.0,5.0\n" * 500, encoding="utf-8")
    settings = folder / "agent.toml"
    settings.write_text(
        f"""
device = "one"
fleet = "test"
[broker]
port = {port}
[repository]
url = "http://127.0.0.1:1/"
root = "root.json"
model = "rain"
[source]
kind = "csv"
path = "rows.csv"
rows_per_second = 100.0
[sink]
kind = "json_lines"
path = "answers.jsonl"
""",
        encoding="utf-8",
    )
    return settings


def test_an_agent_with_a_native_table_has_loaded_neither_numpy_nor_another_runtime_nor_the_updaters_libraries(
    tmp_path: Path, free_port: int
):
    settings = write_device(tmp_path, free_port)
    arguments = [sys.executable, "-P", "-c", PROGRAM, str(settings), str(tmp_path / "answers.jsonl")]
    ended = subprocess.run(arguments, capture_output=True, check=False, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    code, answered_bytes, loaded = json.loads(ended.stdout)
    assert code == 0
    assert answered_bytes > 0, ended.stderr
    assert UNWANTED & set(loaded) == set()


def test_an_agent_has_loaded_nothing_that_its_first_row_does_not_need_when_it_begins_with_all_else(
    tmp_path: Path, free_port: int
):
    settings = write_device(tmp_path, free_port)
    arguments = [sys.executable, "-P", "-c", EARLY_PROGRAM, str(settings)]
    ended = subprocess.run(arguments, capture_output=True, check=True, text=True, timeout=60)
    loaded = set(ended.stdout.split())
    assert "edge_agent.scoring.native_runtime" in loaded
    assert (UNWANTED | LATER) & loaded == set()


def test_the_version_that_is_told_is_that_of_the_distribution():
    assert version("fieldloop") == VERSION
