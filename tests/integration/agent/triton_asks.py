"""Asks an agent as NVIDIA's client does, in the environment of that client: ``python triton_asks.py HOST:PORT MODEL``.

Writes what it was told as one JSON object.
"""

import json
import sys
from typing import Any

import numpy as np
import tritonclient.http as triton

ROWS = np.array([[1.0, 2.0, 0.5], [-1.0, -2.0, -0.5], [3.0, 0.25, 1.0]], dtype=np.float32)
COLUMNS = ("a", "b", "c")


def main() -> None:
    """Ask all that the protocol has."""
    url, model = sys.argv[1:]
    client = triton.InferenceServerClient(url)
    told: dict[str, Any] = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready(model),
        "version_ready": client.is_model_ready(model, "1"),
        "other_version_ready": client.is_model_ready(model, "99"),
        "server": client.get_server_metadata(),
        "model": client.get_model_metadata(model),
    }
    for name, binary in (("json", False), ("binary", True)):
        told[f"rows_{name}"] = told_by(client, model, [tensor("rows", ROWS, binary=binary)], binary=binary)
        columns = [tensor(each, ROWS[:, [place]], binary=binary) for place, each in enumerate(COLUMNS)]
        told[f"columns_{name}"] = told_by(client, model, columns, binary=binary)
    # With no outputs named, the client asks for all of them as bytes.
    everything = client.infer(model, [tensor("rows", ROWS, binary=True)], model_version="1", request_id="r-1")
    told["everything"] = {name: everything.as_numpy(name).shape for name in ("label", "probabilities", "prediction_id")}
    told["id"] = everything.get_response()["id"]
    for name, bad in (("width", ROWS[:, :2]), ("gap", np.full((1, 3), np.nan, np.float32))):
        try:
            client.infer(model, [tensor("rows", bad, binary=True)])
        except triton.InferenceServerException as error:
            told[f"refused_{name}"] = error.message()
    client.close()
    sys.stdout.write(json.dumps(told))


def tensor(name: str, values: np.ndarray, *, binary: bool) -> triton.InferInput:
    """Make an input of an array."""
    made = triton.InferInput(name, list(values.shape), "FP32")
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def told_by(client: triton.InferenceServerClient, model: str, inputs: list[Any], *, binary: bool) -> dict[str, Any]:
    """Ask for three outputs, and return them."""
    names = ("label", "confidence", "probabilities")
    wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
    result = client.infer(model, inputs, outputs=wanted)
    labels = [each.decode() if isinstance(each, bytes) else each for each in result.as_numpy("label").tolist()]
    return {
        "label": labels,
        "confidence": result.as_numpy("confidence").tolist(),
        "probabilities": result.as_numpy("probabilities").tolist(),
    }


main()
