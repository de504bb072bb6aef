"""``python -m exporter.graphs.trial MODEL``: loads an ONNX file and runs it on zeros, in a process that may die of it.

Checker, shape inference and runtime are compiled code that was not written for hostile files. A file that ends this
process, or takes more memory or time than a model for a small device may, is never opened by the exporter itself.
"""

import resource
import sys
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime as ort

# Address space, not memory in use: the libraries alone map about 2 GiB.
MAX_ADDRESS_BYTES: Final = 6 << 30
MAX_CPU_S: Final = 120
_DTYPES: Final = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}
_OUT_OF_MEMORY: Final = ("alloc", "memory", "overflow")
_MAX_ELEMENTS: Final = 1 << 26


def main() -> int:
    """Return 0 when the file loads; print why not, and return 1, when a library refuses it."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_BYTES, MAX_ADDRESS_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_S, MAX_CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    data = Path(sys.argv[1]).read_bytes()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        onnx.checker.check_model(data)
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - the libraries' errors share no narrower base
        print(" ".join(str(error).split())[:300])  # noqa: T201 - the answer of this program
        return 1
    shapes = [(i.name, i.type, [n if isinstance(n, int) else 1 for n in i.shape]) for i in session.get_inputs()]
    if all(kind in _DTYPES and 0 <= np.prod(shape, dtype=float) <= _MAX_ELEMENTS for _, kind, shape in shapes):
        try:
            session.run(None, {name: np.zeros(shape, _DTYPES[kind]) for name, kind, shape in shapes})
        except Exception as error:  # noqa: BLE001 - as above
            # Zeros may be no fitting input: only what kills the process, or would, counts.
            if any(word in str(error).lower() for word in _OUT_OF_MEMORY):
                print(f"takes more than {MAX_ADDRESS_BYTES >> 30} GiB")  # noqa: T201 - as above
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
