"""Names machines instead of their features as NVIDIA's client does: ``python triton_names.py HOST:PORT MODEL``.

Writes what it was told as one JSON object.
"""

import json
import sys

import numpy as np
import tritonclient.http as triton


def main() -> None:
    """Ask in JSON and in bytes, and for a machine that nobody knows."""
    url, model = sys.argv[1:]
    client = triton.InferenceServerClient(url)
    told = {"parameters": client.get_model_metadata(model).get("parameters")}
    wanted = [triton.InferRequestedOutput("probabilities")]
    for name, binary in (("json", False), ("binary", True)):
        inputs = named(["m1", "m2"], [1.0, -1.0], binary=binary)
        told[name] = client.infer(model, inputs, outputs=wanted).as_numpy("probabilities").tolist()
    try:
        client.infer(model, named(["m9"], [1.0], binary=True))
    except triton.InferenceServerException as error:
        told["unknown"] = error.message()
    client.close()
    sys.stdout.write(json.dumps(told))


def named(machines: list[str], values: list[float], *, binary: bool) -> list[triton.InferInput]:
    """Make the inputs: the feature that is measured now, and whose it is."""
    measured = triton.InferInput("a", [len(values), 1], "FP32")
    measured.set_data_from_numpy(np.array(values, np.float32).reshape(-1, 1), binary_data=binary)
    machine = triton.InferInput("machine_id", [len(machines), 1], "BYTES")
    machine.set_data_from_numpy(np.array(machines, dtype=np.object_).reshape(-1, 1), binary_data=binary)
    return [measured, machine]


main()
