"""A machine of a project's: ``holds_a_run.py FOLDER``: begins a production run, says so, and goes on when told to."""

import sys
from pathlib import Path

from trainer.errors import BusyError
from trainer.pipeline.outcome import StepEvent
from trainer.pipeline.production import run_production
from trainer.project.loading import load_project


def main(folder: str, *stops: str) -> None:
    """Run; wait for a line before each of the steps that are named."""

    def progress(event: StepEvent) -> None:
        if event.phase == "started" and event.step in stops:
            sys.stdout.write(f"{event.step}\n")
            sys.stdout.flush()
            sys.stdin.readline()

    loaded = load_project(Path(folder))
    try:
        result = run_production(loaded, trigger="manual", reason="a test", progress=progress)
    except BusyError as error:
        sys.stdout.write(f"busy: {error}\n")
        raise SystemExit(BusyError.exit_code) from error
    sys.stdout.write(f"promoted {result.version}\n" if result.promoted else "refused\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
