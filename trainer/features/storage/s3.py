"""Object stores that speak S3, by the client that Arrow brings with it, as fsspec wants a file system.

The usual one of fsspec, s3fs, is Amazon's whole SDK twice (botocore, aiobotocore), and holds other packages at old
versions.
"""

import os
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from fsspec.implementations.arrow import ArrowFSWrapper
from pyarrow.fs import FileSelector, FileType, S3FileSystem

_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_REGIONS: Final = ("AWS_REGION", "AWS_DEFAULT_REGION")
_CHECKSUMS: Final = ("AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION")
_CONNECT_S: Final = 10.0
_REQUEST_S: Final = 60.0


class ArrowS3(ArrowFSWrapper):  # type: ignore[misc] # fsspec has no types
    """Buckets and their objects; keys, endpoint and region come from the environment, as with every client of S3."""

    protocol = ("s3", "s3a")

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - fsspec's signature
        """Open it; nothing is asked of the store yet."""
        connection = _connection(os.environ)
        if "endpoint_override" in connection:
            # Amazon's client would send a checksum behind the content, in a way that other makers' stores refuse.
            for name in _CHECKSUMS:
                os.environ.setdefault(name, "when_required")
        super().__init__(fs=S3FileSystem(**connection), **options)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:  # noqa: FBT001, FBT002 - fsspec's signature
        """Do nothing: objects lie in no folders; Arrow's empty object in their place would be in the way."""

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,  # noqa: FBT001, FBT002 - fsspec's signature
        detail: bool = False,  # noqa: FBT001, FBT002
        **_: object,
    ) -> Any:  # noqa: ANN401
        """List all objects below a path; fsspec's own takes a store that cannot be reached for an empty one.

        Raises:
            OSError: the store cannot be reached, or refuses us.
        """
        found: dict[str, Any] = {}
        waiting = [(str(self._strip_protocol(path)).rstrip("/"), 1)]
        while waiting:
            folder, depth = waiting.pop()
            for info in self.fs.get_file_info(FileSelector(folder, allow_not_found=True)):
                is_folder = info.type is FileType.Directory
                if withdirs or not is_folder:
                    found[info.path] = self._make_entry(info)
                if is_folder and (maxdepth is None or depth < maxdepth):
                    waiting.append((info.path, depth + 1))
        return {name: found[name] for name in sorted(found)} if detail else sorted(found)


def _connection(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what Arrow's client does not find out by itself everywhere."""
    # A small object is put in one request, as by every other client, and not by an upload of several parts.
    found: dict[str, Any] = {"connect_timeout": _CONNECT_S, "request_timeout": _REQUEST_S, "allow_delayed_open": True}
    endpoint = next((environment[name] for name in _ENDPOINTS if environment.get(name)), "")
    if endpoint:
        parts = urlsplit(endpoint)
        found |= {"endpoint_override": f"{parts.netloc}{parts.path.rstrip('/')}", "scheme": parts.scheme}
    region = next((environment[name] for name in _REGIONS if environment.get(name)), "")
    if region:
        found["region"] = region
    return found
