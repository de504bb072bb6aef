"""ONNX graphs as other tools write them, built by hand: their weights are real, their shapes are those of exports."""

from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import RidgeClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from tests.unit.exporter.families import load


def tensor(name, values, dtype=np.float32):
    return numpy_helper.from_array(np.array(values, dtype=dtype, order="C"), name)


def value(name, shape, elem_type=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, elem_type, shape)


def model(nodes, inputs, outputs, tensors, *, opset=17, ir=8, ml=0) -> onnx.ModelProto:
    """Return a model as an exporter writes one."""
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid("ai.onnx.ml", ml)] if ml else [])]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, tensors)
    return helper.make_model(
        graph, opset_imports=opsets, ir_version=ir, producer_name="pytorch", producer_version="2.9"
    )


@cache
def _learnt_mlp():
    rows, truth = load("digits")
    scaler = StandardScaler().fit(rows[:1200])
    mlp = MLPClassifier((24,), max_iter=60, random_state=0).fit(scaler.transform(rows[:1200]), truth[:1200])
    return scaler, mlp


def mlp_graph(*, opset=17, ends_in="logits", batch="batch", names=("input", "output")) -> onnx.ModelProto:
    """Return a standardised MLP on digits as PyTorch writes it: Gemm with transposed weights."""
    scaler, mlp = _learnt_mlp()
    tensors = [tensor("mean", scaler.mean_), tensor("std", np.where(scaler.scale_ > 0, scaler.scale_, 1))]
    nodes = [
        helper.make_node("Sub", [names[0], "mean"], ["/norm/Sub_output_0"], name="/norm/Sub"),
        helper.make_node("Div", ["/norm/Sub_output_0", "std"], ["x0"], name="/norm/Div"),
    ]
    last = "x0"
    for i, (weights, bias) in enumerate(zip(mlp.coefs_, mlp.intercepts_, strict=True)):
        tensors += [tensor(f"fc{i}.weight", weights.T), tensor(f"fc{i}.bias", bias)]
        nodes.append(
            helper.make_node("Gemm", [last, f"fc{i}.weight", f"fc{i}.bias"], [f"g{i}"], name=f"/fc{i}/Gemm", transB=1)
        )
        last = f"g{i}"
        if i + 1 < len(mlp.coefs_):
            nodes.append(helper.make_node("Relu", [last], [f"r{i}"], name=f"/relu{i}"))
            last = f"r{i}"
    if ends_in == "probabilities":
        nodes.append(helper.make_node("Softmax", [last], [names[1]], name="/softmax", axis=1))
    elif ends_in == "logarithms":
        nodes.append(helper.make_node("LogSoftmax", [last], [names[1]], name="/logsoftmax", axis=1))
    else:
        nodes[-1].output[0] = names[1]
    return model(nodes, [value(names[0], [batch, 64])], [value(names[1], [batch, 10])], tensors, opset=opset)


@cache
def _cnn_weights():
    """Return three filters and a head that is trained on what they give: quick, and better than chance by far."""
    rows, truth = load("digits")
    rng = np.random.default_rng(0)
    filters = rng.normal(size=(8, 1, 3, 3)).astype(np.float32) / 3
    bias = np.zeros(8, np.float32)
    features = _convolved(rows, filters, bias)
    head = RidgeClassifier().fit(features[:1200], truth[:1200])
    return filters, bias, head.coef_ * 5, head.intercept_ * 5


def _convolved(rows, filters, bias):
    images = np.pad(rows.reshape(-1, 8, 8) / 16, ((0, 0), (1, 1), (1, 1)))
    maps = np.zeros((len(rows), 8, 8, 8))
    for channel in range(8):
        for i in range(3):
            for j in range(3):
                maps[:, channel] += filters[channel, 0, i, j] * images[:, i : i + 8, j : j + 8]
    maps = np.maximum(maps + bias[:, np.newaxis, np.newaxis], 0)
    return maps.reshape(-1, 8, 4, 2, 4, 2).max(axis=(3, 5)).reshape(len(rows), -1)


def cnn_graph(*, opset=17, batch="batch", ends_in="logits") -> onnx.ModelProto:
    """Return a small convolutional network on digits as images ``(n, 1, 8, 8)``, as PyTorch writes it."""
    filters, bias, weights, intercept = _cnn_weights()
    rows = 1 if batch == 1 else -1
    nodes = [
        helper.make_node("Div", ["image", "sixteen"], ["scaled"], name="/Div"),
        helper.make_node(
            "Conv",
            ["scaled", "conv.weight", "conv.bias"],
            ["maps"],
            name="/conv/Conv",
            pads=[1] * 4,
            kernel_shape=[3, 3],
        ),
        helper.make_node("Relu", ["maps"], ["active"], name="/relu/Relu"),
        helper.make_node("MaxPool", ["active"], ["pooled"], name="/pool/MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Reshape", ["pooled", "flat"], ["features"], name="/Reshape"),
        helper.make_node("Gemm", ["features", "fc.weight", "fc.bias"], ["scores"], name="/fc/Gemm", transB=1),
    ]
    last = "scores"
    if ends_in == "probabilities":
        nodes.append(helper.make_node("Softmax", ["scores"], ["shares"], name="/Softmax", axis=1))
        last = "shares"
    tensors = [
        tensor("sixteen", 16.0),
        tensor("conv.weight", filters),
        tensor("conv.bias", bias),
        tensor("flat", [rows, 128], np.int64),
        tensor("fc.weight", weights),
        tensor("fc.bias", intercept),
    ]
    return model(nodes, [value("image", [batch, 1, 8, 8])], [value(last, [batch, 10])], tensors, opset=opset)


def written(proto: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    """Write a model into a folder; return its file."""
    path = folder / name
    path.write_bytes(proto.SerializeToString())
    return path
