"""What a task of Kubeflow Pipelines does. Its source goes into the package, so it imports all that it needs itself.

The image that runs it holds ``fieldloop``; nothing of it is imported, so that no version of ours meets the SDK's.
"""

from typing import Any


def carry_out(step: str, project: str, run: str, trigger: str, reason: str) -> tuple[str, str, dict[str, Any]]:
    """Carry out one step of a run, unless it is finished and holds still.

    Args:
        step: its name.
        project: folder of the project, where the task sees it.
        run: id of the run, or ``last``; empty: a new one begins.
        trigger: of a new run.
        reason: of a new run.

    Returns:
        Id of the run; what came of the step, in words; and what it made: its files with their hashes.

    Raises:
        RuntimeError: the step failed; its own words stand above, in the log.
    """
    import json  # noqa: PLC0415 - only the source of this function gets there
    import subprocess  # noqa: PLC0415

    which = ["--run", run] if run else ["--trigger", trigger, "--reason", reason]
    command = ["fieldloop", "pipeline", "step", step, "--project", project, *which]
    command += ["--executor", "Kubeflow Pipelines", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    refused_by_gate = 4  # a result, not a failure: trying again would refuse it again
    if done.returncode not in (0, refused_by_gate) or not done.stdout.strip():
        raise RuntimeError(f"{' '.join(command)} ended with code {done.returncode}")
    told = json.loads(done.stdout.strip().splitlines()[-1])
    record, end = told["record"], told["end"]
    outcome = "carried out" if told["ran"] else "kept: it is finished, and nothing that it depends on has changed"
    if end is not None:
        came_of_it = "promoted" if end["promoted"] else "waits for approval" if end["waits"] else "refused"
        outcome = f"version {end['version']} {came_of_it}: {end['reason']}"
    made = {"run": told["run_id"], "step": step, "outputs": record["outputs"], "files": record["artefacts"]}
    return told["run_id"], outcome, made
