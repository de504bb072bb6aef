"""A process of its own that scores a file with the device's adapter: for other environments, and to weigh memory.

Run as ``python -m exporter.proof.child``: a job as JSON from standard input, an answer as JSON to standard output. It
imports nothing but Python's own library and the adapter, so that what it weighs is what a device would need.
"""

import array
import json
import platform
import sys
from pathlib import Path
from typing import Any

from edge_agent.clock import SystemClock
from edge_agent.errors import AgentError
from edge_agent.scoring.implementations import implementation_of
from exporter.proof.runtimes import installed_version, load_adapter
from exporter.proof.timing import time_batches, time_rows

_WEIGHED_ROWS = 200
_TIMED_ROWS = 1000


def main() -> None:
    """Do the job; an error of the adapter is an answer too."""
    job = json.load(sys.stdin)
    sys.stdout.write(json.dumps(answer(job)))


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """Carry out a job.

    Args:
        job: ``runtime``, ``face``, ``path``, ``n_features``, ``n_outputs``; ``rows``: a file of float32; ``outputs``: a
            file to write float64 to, or empty; ``weighs``, ``times``: whether memory and time are measured.
    """
    bare = _memory()
    try:
        adapter = load_adapter(job["runtime"], job["face"])
    except ImportError as error:
        return {"missing": str(error)}
    _reset_peak()
    loaded = _memory()
    facts: dict[str, Any] = {
        "implementation": implementation_of(job["runtime"]),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    facts["version"] = installed_version(facts["implementation"])
    try:
        try:
            runtime = adapter(Path(job["path"]), job["n_features"], job["n_outputs"])
        except ImportError as error:
            return {"missing": str(error)}
        for row in _rows_of(job, _WEIGHED_ROWS):
            runtime.score(row)
        used = _memory()
        if job["weighs"]:
            facts["memory"] = {
                "runtime_bytes": loaded["rss"] - bare["rss"],
                "peak_bytes": used["peak"] - bare["rss"],
                "pss_bytes": used["pss"] - bare["pss"],
            }
        if job["outputs"]:
            found = array.array("d", (v for outputs in runtime.score_batch(_rows_of(job)) for v in outputs))
            Path(job["outputs"]).write_bytes(found.tobytes())
        if job["times"]:
            rows, clock = _rows_of(job, _TIMED_ROWS), SystemClock()
            median_us, p99_us = time_rows(runtime, rows, clock)
            facts["latency"] = {"median_us": median_us, "p99_us": p99_us}
            facts["latency"] |= {f"batch_{n}_us": time_batches(runtime, rows, n, clock) for n in (32, 1000)}
    except AgentError as error:
        return {**facts, "refused": str(error)}
    return facts


def _rows_of(job: dict[str, Any], limit: int | None = None) -> list[list[float]]:
    width = job["n_features"]
    numbers = array.array("f")
    data = Path(job["rows"]).read_bytes()
    numbers.frombytes(data if limit is None else data[: limit * width * numbers.itemsize])
    return [numbers[start : start + width].tolist() for start in range(0, len(numbers), width)]


def _memory() -> dict[str, int]:
    """Return resident, greatest resident and proportional bytes of this process; 0 where the kernel does not tell."""
    status = _sizes("/proc/self/status")
    return {
        "rss": status.get("VmRSS", 0),
        "peak": status.get("VmHWM", 0),
        "pss": _sizes("/proc/self/smaps_rollup").get("Pss", 0),
    }


def _sizes(path: str) -> dict[str, int]:
    try:
        lines = Path(path).read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    fields = [line.split() for line in lines if line.endswith(" kB")]
    return {field[0].rstrip(":"): int(field[1]) * 1024 for field in fields}


def _reset_peak() -> None:
    """Forget the peak of importing: a device imports once, what it holds on to counts."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


if __name__ == "__main__":
    main()
