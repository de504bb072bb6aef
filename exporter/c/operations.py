"""Writes each operation of a program as one C function over float vectors; the names say which step it comes from.

Everything is float, but what a decision hangs on: a scaler in front of trees or categories computes as scikit-learn
does, in double with a rounding after each step, or a row on a threshold could fall to the other side.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from exporter.c.text import doubles, float_text, floats, integers
from exporter.c.trees import trees_function
from exporter.programs.interpreter import pairs_of
from exporter.programs.program import (
    LEAST_NORM,
    Affine,
    ArgMax,
    Average,
    Bins,
    Clip,
    Columns,
    Complement,
    Coupling,
    Curve,
    CurveName,
    Fill,
    Flags,
    Floats,
    Interpolate,
    Join,
    Kernel,
    Linear,
    Lookup,
    Node,
    Normalise,
    OneHot,
    OvrOfOvo,
    Product,
    Program,
    Proportions,
    Scale,
    Softmax,
    Trees,
    sources_of,
)

_CURVES: Final[Mapping[CurveName, str]] = {
    "relu": "v < 0.0f ? 0.0f : v",
    "tanh": "tanhf(v)",
    "logistic": "1.0f / (1.0f + expf(-v))",
    "exp": "expf(v)",
    "log": "logf(v)",
    "sqrt": "sqrtf(v)",
    "square": "v * v",
    "abs": "fabsf(v)",
    "reciprocal": "1.0f / v",
    "log1p": "log1pf(v)",
    "expm1": "expm1f(v)",
}
# From here on an offset, or a mean in scales, is large beside what is left.
_LARGE: Final = 16.0
_DECIDING: Final = (Trees, OneHot, Lookup, Bins, ArgMax)


def function_of(name: str, program: Program, place: int, *, is_exact: bool) -> str:
    """Return the tables and the function ``void name(const float *x…, float *y)`` of one operation.

    Args:
        name: of the function, and the beginning of its tables' names.
        program: the operation's own.
        place: of the operation; not 0.
        is_exact: whether a decision hangs on it, see `exact_places`.
    """
    node = program.nodes[place]
    operation = node.operation
    if isinstance(operation, Trees):
        return trees_function(name, operation.ensemble)
    widths = [program.nodes[source].width for source in sources_of(operation)]
    if isinstance(operation, Scale | Affine):
        tables, body = _two_steps(name, operation, node, is_exact=is_exact)
    else:
        tables, body = _BODIES[type(operation)](name, operation, node, widths)
    arguments = "const float *x" if len(widths) == 1 else ", ".join(f"const float *x{i}" for i in range(len(widths)))
    lines = [f"  {line}" for line in body]
    return "\n".join([*tables, f"static void {name}({arguments}, float *y) {{", *lines, "}"])


def exact_places(program: Program) -> frozenset[int]:
    """Return the places of operations whose numbers a decision hangs on: trees, categories, bins, the greatest."""
    found: set[int] = set()
    for place in range(len(program.nodes) - 1, 0, -1):
        operation = program.nodes[place].operation
        if isinstance(operation, _DECIDING) or place in found:
            found.update(sources_of(operation))
    return frozenset(found)


_Written = tuple[list[str], list[str]]


def _each(node: Node, statement: str) -> str:
    return f"for (uint32_t i = 0; i < {node.width}u; i++) {statement}"


def _is(marker: float, value: str) -> str:
    return f"{value} != {value}" if np.isnan(marker) else f"{value} == {float_text(marker)}"


def _columns(name: str, operation: Columns, node: Node, _widths: list[int]) -> _Written:
    return [integers(f"{name}_places", operation.places)], [_each(node, f"y[i] = x[{name}_places[i]];")]


def _join(_name: str, _operation: Join, _node: Node, widths: list[int]) -> _Written:
    names = ["x"] if len(widths) == 1 else [f"x{i}" for i in range(len(widths))]
    return [], [f"for (uint32_t i = 0; i < {w}u; i++) *y++ = {n}[i];" for n, w in zip(names, widths, strict=True)]


def _fill(name: str, operation: Fill, node: Node, _widths: list[int]) -> _Written:
    statement = f"y[i] = {_is(operation.marker, 'x[i]')} ? {name}_values[i] : x[i];"
    return [floats(f"{name}_values", operation.values)], [_each(node, statement)]


def _flags(_name: str, operation: Flags, node: Node, _widths: list[int]) -> _Written:
    return [], [_each(node, f"y[i] = {_is(operation.marker, 'x[i]')} ? 1.0f : 0.0f;")]


def _two_steps(name: str, operation: Scale | Affine, node: Node, *, is_exact: bool) -> _Written:
    """Write two float32 steps with a table each, in double where a decision hangs on them or digits cancel."""
    if isinstance(operation, Scale):
        first, second, one, two = "-", "/", operation.means, operation.scales
    else:
        first, second, one, two = "*", "+", operation.factors, operation.offsets
    table, kind = (doubles, "(double)") if is_exact or _cancels(operation) else (floats, "")
    step = f"(float)({kind}x[i] {first} {name}_first[i])"
    tables = [table(f"{name}_first", one), table(f"{name}_second", two)]
    return tables, [_each(node, f"y[i] = (float)({kind}{step} {second} {name}_second[i]);")]


def _cancels(operation: Scale | Affine) -> bool:
    """Tell whether two large numbers make a small one, in which their rounding to float32 would be seen."""
    if isinstance(operation, Affine):
        return bool((np.abs(operation.offsets) > _LARGE).any())
    rest = operation.means - operation.means.astype(np.float32)
    return bool(((rest != 0) & (np.abs(operation.means) > _LARGE * np.abs(operation.scales))).any())


def _clip(name: str, operation: Clip, node: Node, _widths: list[int]) -> _Written:
    low, high = f"{name}_low", f"{name}_high"
    statement = f"y[i] = x[i] < {low}[i] ? {low}[i] : x[i] > {high}[i] ? {high}[i] : x[i];"
    return [floats(low, operation.low), floats(high, operation.high)], [_each(node, statement)]


def _curve(_name: str, operation: Curve, node: Node, _widths: list[int]) -> _Written:
    return [], [_each(node, f"{{ const float v = x[i]; y[i] = {_CURVES[operation.kind]}; }}")]


def _one_hot(name: str, operation: OneHot, node: Node, _widths: list[int]) -> _Written:
    pairs = [(key, group) for group, keys in enumerate(operation.groups) for key in keys]
    numbers = [(key, group) for key, group in pairs if not np.isnan(key)]
    body = [_each(node, "y[i] = 0.0f;")]
    body += [f"if (x[0] != x[0]) y[{group}] = 1.0f;" for key, group in pairs if np.isnan(key)]
    if not numbers:
        return [], body
    body.append(
        f"for (uint32_t k = 0; k < {len(numbers)}u; k++) if (x[0] == {name}_keys[k]) y[{name}_groups[k]] = 1.0f;"
    )
    keys, groups = zip(*numbers, strict=True)
    return [floats(f"{name}_keys", keys), integers(f"{name}_groups", groups)], body


def _lookup(name: str, operation: Lookup, _node: Node, _widths: list[int]) -> _Written:
    pairs = list(zip(operation.keys, operation.values, strict=True))
    numbers = [(key, value) for key, value in pairs if not np.isnan(key)]
    body = [f"y[0] = {float_text(operation.default)};"]
    body += [f"if (x[0] != x[0]) y[0] = {float_text(value)};" for key, value in pairs if np.isnan(key)]
    if not numbers:
        return [], body
    body.append(f"for (uint32_t k = 0; k < {len(numbers)}u; k++) if (x[0] == {name}_keys[k]) y[0] = {name}_values[k];")
    keys, values = zip(*numbers, strict=True)
    return [floats(f"{name}_keys", keys), floats(f"{name}_values", values)], body


def _bins(name: str, operation: Bins, node: Node, _widths: list[int]) -> _Written:
    starts = np.cumsum([0, *(len(edges) for edges in operation.edges)])
    flat = [edge for edges in operation.edges for edge in edges] or [np.inf]
    # Written so that NaN, of which no edge is above, counts them all.
    count = f"for (uint32_t k = {name}_starts[i]; k < {name}_starts[i + 1]; k++) if (!({name}_edges[k] > x[i])) n++;"
    statement = f"{{ uint32_t n = 0; {count} y[i] = (float)n; }}"
    return [floats(f"{name}_edges", flat), integers(f"{name}_starts", starts)], [_each(node, statement)]


def _linear(name: str, operation: Linear, node: Node, widths: list[int]) -> _Written:
    tables = [floats(f"{name}_weights", operation.weights.T), floats(f"{name}_bias", operation.bias)]
    return tables, [
        f"const float *w = {name}_weights;",
        f"for (uint32_t j = 0; j < {node.width}u; j++) {{",
        f"  float sum = {name}_bias[j];",
        f"  for (uint32_t i = 0; i < {widths[0]}u; i++) sum += x[i] * *w++;",
        "  y[j] = sum;",
        "}",
    ]


def _kernel(name: str, operation: Kernel, node: Node, widths: list[int]) -> _Written:
    is_rbf = operation.kind == "rbf"
    term = "const float d = x[i] - *v++; sum += d * d;" if is_rbf else "sum += x[i] * *v++;"
    gamma, coef0 = float_text(operation.gamma), float_text(operation.coef0)
    answer = {
        "linear": ["y[j] = sum;"],
        "rbf": [f"y[j] = expf(-{gamma} * sum);"],
        "sigmoid": [f"y[j] = tanhf({gamma} * sum + {coef0});"],
        "poly": [
            f"const float base = {gamma} * sum + {coef0};",
            "float power = 1.0f;",
            f"for (uint32_t d = 0; d < {operation.degree}u; d++) power *= base;",
            "y[j] = power;",
        ],
    }[operation.kind]
    return [floats(f"{name}_vectors", operation.vectors)], [
        f"const float *v = {name}_vectors;",
        f"for (uint32_t j = 0; j < {node.width}u; j++) {{",
        "  float sum = 0.0f;",
        f"  for (uint32_t i = 0; i < {widths[0]}u; i++) {{ {term} }}",
        *(f"  {line}" for line in answer),
        "}",
    ]


def _softmax(_name: str, _operation: Softmax, node: Node, _widths: list[int]) -> _Written:
    return [], [
        "float greatest = x[0], sum = 0.0f;",
        _each(node, "if (x[i] > greatest) greatest = x[i];"),
        _each(node, "{ y[i] = expf(x[i] - greatest); sum += y[i]; }"),
        _each(node, "y[i] /= sum;"),
    ]


def _complement(_name: str, _operation: Complement, _node: Node, _widths: list[int]) -> _Written:
    return [], ["y[0] = 1.0f - x[0];", "y[1] = x[0];"]


def _proportions(_name: str, _operation: Proportions, node: Node, _widths: list[int]) -> _Written:
    return [], [
        "float sum = 0.0f;",
        _each(node, "sum += x[i];"),
        _each(node, f"y[i] = sum == 0.0f ? {float_text(1 / node.width)} : x[i] / sum;"),
    ]


def _average(_name: str, operation: Average, node: Node, widths: list[int]) -> _Written:
    names = ["x"] if len(widths) == 1 else [f"x{i}" for i in range(len(widths))]
    terms = " + ".join(f"{float_text(w)} * {n}[i]" for n, w in zip(names, operation.weights, strict=True))
    return [], [_each(node, f"y[i] = {terms};")]


def _product(_name: str, _operation: Product, node: Node, _widths: list[int]) -> _Written:
    return [], [_each(node, "y[i] = x0[i] * x1[i];")]


def _normalise(_name: str, operation: Normalise, node: Node, _widths: list[int]) -> _Written:
    add = {
        "l1": "norm += fabsf(x[i]);",
        "l2": "norm += x[i] * x[i];",
        "max": "if (fabsf(x[i]) > norm) norm = fabsf(x[i]);",
    }[operation.norm]
    root = ["norm = sqrtf(norm);"] if operation.norm == "l2" else []
    return [], [
        "float norm = 0.0f;",
        _each(node, add),
        *root,
        f"if (norm < {float_text(LEAST_NORM)}) norm = 1.0f;",
        _each(node, "y[i] = x[i] / norm;"),
    ]


def _interpolate(name: str, operation: Interpolate, node: Node, _widths: list[int]) -> _Written:
    starts = np.cumsum([0, *(len(xs) for xs in operation.xs)])
    xs, ys = f"{name}_xs", f"{name}_ys"
    # Knots that lie close to each other far from zero are not one number more or less.
    is_close = any(np.abs(xs).max() > _LARGE * np.ptp(xs) for xs in operation.xs)
    table = doubles if is_close else floats
    tables = [table(xs, _flat(operation.xs)), table(ys, _flat(operation.ys)), integers(f"{name}_starts", starts)]
    return tables, [
        f"for (uint32_t i = 0; i < {node.width}u; i++) {{",
        f"  const uint32_t last = {name}_starts[i + 1] - 1u;",
        f"  uint32_t k = {name}_starts[i];",
        "  if (x[i] != x[i]) { y[i] = x[i]; continue; }",
        f"  if (x[i] <= {xs}[k]) {{ y[i] = (float){ys}[k]; continue; }}",
        f"  if (x[i] >= {xs}[last]) {{ y[i] = (float){ys}[last]; continue; }}",
        f"  while (x[i] >= {xs}[k + 1u]) k++;",
        f"  y[i] = (float)({ys}[k] + ({ys}[k + 1u] - {ys}[k]) * ((x[i] - {xs}[k]) / ({xs}[k + 1u] - {xs}[k])));",
        "}",
    ]


def _arg_max(_name: str, _operation: ArgMax, node: Node, _widths: list[int]) -> _Written:
    return [], [
        "uint32_t best = 0;",
        _each(node, "if (x[i] > x[best]) best = i;"),
        _each(node, "y[i] = i == best ? 1.0f : 0.0f;"),
    ]


def _ovr_of_ovo(name: str, operation: OvrOfOvo, node: Node, widths: list[int]) -> _Written:
    n = operation.n_classes
    pairs = np.array(pairs_of(n))
    return [integers(f"{name}_first", pairs[:, 0]), integers(f"{name}_second", pairs[:, 1])], [
        f"float confidence[{n}];",
        _each(node, "{ y[i] = 0.0f; confidence[i] = 0.0f; }"),
        f"for (uint32_t k = 0; k < {widths[0]}u; k++) {{",
        f"  confidence[{name}_first[k]] -= x[k];",
        f"  confidence[{name}_second[k]] += x[k];",
        f"  y[x[k] > 0.0f ? {name}_second[k] : {name}_first[k]] += 1.0f;",
        "}",
        _each(node, "y[i] += confidence[i] / (3.0f * (fabsf(confidence[i]) + 1.0f));"),
    ]


def _coupling(_name: str, operation: Coupling, _node: Node, _widths: list[int]) -> _Written:
    n = operation.n_classes
    loop_i, loop_j = (f"for (uint32_t {v} = 0; {v} < {n}u; {v}++)" for v in "ij")
    return [], [
        f"float q[{n}][{n}], qp[{n}], pqp;",
        "uint32_t k = 0;",
        f"{loop_i} {{ y[i] = 1.0f / {n}.0f; q[i][i] = 0.0f; }}",
        f"{loop_i} for (uint32_t j = i + 1u; j < {n}u; j++, k++) {{",
        "  const float r = x[k] < 1e-7f ? 1e-7f : x[k] > 1.0f - 1e-7f ? 1.0f - 1e-7f : x[k];",
        "  q[i][i] += (1.0f - r) * (1.0f - r);",
        "  q[j][j] += r * r;",
        "  q[i][j] = q[j][i] = -r * (1.0f - r);",
        "}",
        f"for (uint32_t round = 0; round < {max(100, n)}u; round++) {{",
        "  float error = 0.0f;",
        "  pqp = 0.0f;",
        f"  {loop_i} {{ qp[i] = 0.0f; {loop_j} qp[i] += q[i][j] * y[j]; pqp += y[i] * qp[i]; }}",
        f"  {loop_i} if (fabsf(qp[i] - pqp) > error) error = fabsf(qp[i] - pqp);",
        f"  if (error < {float_text(0.005 / n)}) break;",
        f"  for (uint32_t t = 0; t < {n}u; t++) {{",
        "    const float step = (pqp - qp[t]) / q[t][t];",
        "    y[t] += step;",
        "    pqp = (pqp + step * (step * q[t][t] + 2.0f * qp[t])) / ((1.0f + step) * (1.0f + step));",
        f"    {loop_j} {{ qp[j] = (qp[j] + step * q[t][j]) / (1.0f + step); y[j] /= 1.0f + step; }}",
        "  }",
        "}",
    ]


def _flat(columns: tuple[Floats, ...]) -> list[float]:
    return [float(value) for column in columns for value in column]


_BODIES: Final[Mapping[type[Any], Callable[..., _Written]]] = {
    Columns: _columns,
    Join: _join,
    Fill: _fill,
    Flags: _flags,
    Clip: _clip,
    Curve: _curve,
    OneHot: _one_hot,
    Lookup: _lookup,
    Bins: _bins,
    Linear: _linear,
    Kernel: _kernel,
    Softmax: _softmax,
    Complement: _complement,
    Proportions: _proportions,
    Average: _average,
    Product: _product,
    Normalise: _normalise,
    Interpolate: _interpolate,
    ArgMax: _arg_max,
    OvrOfOvo: _ovr_of_ovo,
    Coupling: _coupling,
}
