"""The form ``c``: one self-contained C99 header for microcontrollers, and a program of test vectors for it.

The header needs ``stdint.h`` and ``math.h``: no malloc, no state, nothing to start. All tables are ``const``, so that
they stay in flash; between operations vectors live in one array on the stack, which is as large as the widest moment.
"""

from typing import Final

import numpy as np

from exporter.c.operations import exact_places, function_of
from exporter.c.text import comment_text, float_text, floats, identifier, integers
from exporter.material import Material
from exporter.models.metrics import labels_of
from exporter.models.model import FittedModel, Outputs, Rows
from exporter.programs.program import Program, sources_of

_TEST_INCLUDES: Final = "#include <stdio.h>"


def convert_c(material: Material, name: str = "model") -> bytes:
    """Return the header of a model.

    Args:
        material: its program is written.
        name: of the model; what the header defines begins with it.

    Raises:
        UnsupportedError: a step that no reader knows, named.
    """
    return header_of(material.program, name, material.model).encode()


def header_of(program: Program, name: str, model: FittedModel | None = None) -> str:
    """Return a header that scores rows as a program does; ``model`` tells what rows and outputs mean, in comments."""
    prefix = identifier(name)
    exact = exact_places(program)
    functions = [
        _described(program, place, function_of(f"{prefix}_{place}", program, place, is_exact=place in exact))
        for place in range(1, len(program.nodes))
    ]
    upper = prefix.upper()
    guard = f"FIELDLOOP_{upper}_H"
    parts = [
        _about(program, prefix, model),
        f"#ifndef {guard}\n#define {guard}\n\n#include <math.h>\n#include <stdint.h>",
        f"#define {upper}_N_FEATURES {program.n_features}\n#define {upper}_N_OUTPUTS {program.n_outputs}",
        *functions,
        _score(program, prefix),
        _label(program, prefix),
        f"#endif /* {guard} */",
    ]
    return "\n\n".join(parts) + "\n"


def vectors_of(name: str, rows: Rows, expected: Outputs, tolerance: float) -> str:
    """Return a C program that scores rows with the header ``name.h`` and ends with 1 when an answer is wrong.

    Args:
        name: of the model, as given to `header_of`.
        rows: ``(n, n_features) float32``.
        expected: ``(n, n_outputs)`` answers of the original model.
        tolerance: greatest difference of an output that is right.
    """
    prefix = identifier(name)
    upper = prefix.upper()
    tables = [
        floats("rows", rows),
        floats("expected", expected),
        integers("labels", labels_of(expected)),
    ]
    n = len(rows)
    main = f"""int main(void) {{
  int n_wrong = 0;
  float worst = 0.0f;
  for (int i = 0; i < {n}; i++) {{
    float outputs[{upper}_N_OUTPUTS];
    {prefix}_score(rows + i * {upper}_N_FEATURES, outputs);
    int is_wrong = {upper}_N_OUTPUTS > 1 && {prefix}_label(outputs) != (int)labels[i];
    for (int j = 0; j < {upper}_N_OUTPUTS; j++) {{
      const float difference = fabsf(outputs[j] - expected[i * {upper}_N_OUTPUTS + j]);
      if (!(difference <= {float_text(tolerance)})) is_wrong = 1;
      if (!(difference <= worst)) worst = difference;
    }}
    n_wrong += is_wrong;
  }}
  printf("%d rows, %d wrong, greatest difference %g\\n", {n}, n_wrong, (double)worst);
  return n_wrong != 0;
}}"""
    includes = f'{_TEST_INCLUDES}\n\n#include "{prefix}.h"'
    return "\n\n".join([f"/* Test vectors of {prefix}.h: compile with it and run. */", includes, *tables, main]) + "\n"


def plan_stack(program: Program) -> tuple[dict[int, int], int]:
    """Return where each operation's vector begins in the array on the stack, and how many floats the array has.

    The row and the answer are the caller's. A vector's place is free again after the last operation that takes it.
    """
    last_use = {source: place for place, node in enumerate(program.nodes) for source in sources_of(node.operation)}
    starts: dict[int, int] = {}
    size = 0
    for place in range(1, len(program.nodes)):
        if place == program.output:
            continue
        width = program.nodes[place].width
        taken = sorted(
            (starts[p], starts[p] + program.nodes[p].width) for p in starts if last_use.get(p, place) >= place
        )
        start = 0
        for low, high in taken:
            if start + width <= low:
                break
            start = max(start, high)
        starts[place] = start
        size = max(size, start + width)
    return starts, size


def _about(program: Program, prefix: str, model: FittedModel | None) -> str:
    lines = [f"{prefix}: made by Fieldloop; do not edit, export the model again."]
    if model is not None:
        lines += ["", "The row, float, NAN where a value is missing and may be:"]
        lines += [_feature_text(place, model) for place in range(len(model.features))]
        lines += ["", "The answer:"]
        lines += [f"  outputs[{i}]: {label}" for i, label in enumerate(model.labels)] or ["  outputs[0]: the value"]
    lines += ["", f"Every call needs {4 * plan_stack(program)[1]} bytes of stack for vectors, beside its own frames."]
    return "/*\n" + "\n".join(f" * {comment_text(line)}".rstrip() for line in lines) + "\n */"


def _feature_text(place: int, model: FittedModel) -> str:
    feature = model.features[place]
    unit = f" ({feature.unit})" if feature.unit else ""
    categories = ", ".join(f"{i}: {c}" for i, c in enumerate(feature.categories))
    return f"  row[{place}]: {feature.name}{unit}{'; ' if categories else ''}{categories}"


def _described(program: Program, place: int, function: str) -> str:
    node = program.nodes[place]
    about = f"{node.step} ({node.kind}): {type(node.operation).__name__.lower()}, {node.width} wide"
    return f"/* {comment_text(about)} */\n{function}"


def _score(program: Program, prefix: str) -> str:
    starts, size = plan_stack(program)

    def vector(place: int) -> str:
        if place == 0:
            return "row"
        return "outputs" if place == program.output else f"stack + {starts[place]}"

    lines = [f"  float stack[{size}];"] if size else []
    for place in range(1, len(program.nodes)):
        sources = ", ".join(vector(source) for source in sources_of(program.nodes[place].operation))
        lines.append(f"  {prefix}_{place}({sources}, {vector(place)});")
    if program.output == 0:
        lines.append(f"  for (uint32_t i = 0; i < {program.n_outputs}u; i++) outputs[i] = row[i];")
    about = f"/* Score one row: {program.n_features} floats in, {program.n_outputs} floats out. */"
    signature = f"static inline void {prefix}_score(const float *row, float *outputs) {{"
    return "\n".join([about, signature, *lines, "}"])


def _label(program: Program, prefix: str) -> str:
    return "\n".join(
        (
            "/* The index of the greatest output, the first of equals: the label. */",
            f"static inline int {prefix}_label(const float *outputs) {{",
            "  int best = 0;",
            f"  for (int i = 1; i < {program.n_outputs}; i++) if (outputs[i] > outputs[best]) best = i;",
            "  return best;",
            "}",
        )
    )


def choose_vectors(rows: Rows, expected: Outputs, limit: int = 32) -> tuple[Rows, Outputs]:
    """Return at most ``limit`` rows and their answers, evenly spaced and of every label that occurs.

    Args:
        rows: ``(n, n_features) float32``.
        expected: ``(n, n_outputs)``.
        limit: how many at most.
    """
    firsts = [int(np.argmax(labels_of(expected) == label)) for label in np.unique(labels_of(expected))]
    spaced = np.linspace(0, len(rows) - 1, min(limit, len(rows))).astype(int).tolist()
    places = list(dict.fromkeys([*firsts, *spaced]))[:limit]
    return rows[places], expected[places]
