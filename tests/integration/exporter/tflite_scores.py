"""Run by the interpreter with tflite-runtime: scores rows with the device's own adapter. No test itself."""

import json
import sys
from pathlib import Path

import numpy as np

from edge_agent.scoring.tflite_runtime import TfliteRuntime


def main() -> None:
    """Score ``NAME.npy`` by ``NAME.tflite`` to ``NAME.out.npy`` for each file that standard input names."""
    job = json.load(sys.stdin)
    for file in job["files"]:
        path = Path(job["folder"], file["name"])
        rows = np.load(f"{path}.npy")
        runtime = TfliteRuntime(Path(f"{path}.tflite"), rows.shape[1], file["n_outputs"])
        np.save(f"{path}.out.npy", np.array(runtime.score_batch(rows.tolist())))
        runtime.close()


if __name__ == "__main__":
    main()
