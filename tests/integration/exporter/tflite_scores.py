"""Run by the interpreter with tflite-runtime: scores rows with the device's own adapter. No test itself."""

import json
import sys
from pathlib import Path

from edge_agent.scoring.tflite_runtime import TfliteRuntime


def main() -> None:
    """Read ``{"path", "n_outputs", "rows"}`` from standard input, write the outputs."""
    job = json.load(sys.stdin)
    runtime = TfliteRuntime(Path(job["path"]), len(job["rows"][0]), job["n_outputs"])
    sys.stdout.write(json.dumps([list(runtime.score(row)) for row in job["rows"]]))


if __name__ == "__main__":
    main()
