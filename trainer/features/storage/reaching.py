"""Says why an address cannot be reached, and what to do about it: what to install, where keys are taken from."""

from typing import Final

from trainer.project.stores import hidden

# The extra that brings what reads addresses of a scheme.
_EXTRAS: Final = {"s3": "s3", "s3a": "s3", "http": "http", "https": "http"}
# By name: these classes are there only where their package is.
_NO_KEYS: Final = frozenset({"NoCredentialsError", "PartialCredentialsError"})


def why_unreachable(address: str, error: Exception) -> str:
    """Return what to say behind the address; without its password.

    Args:
        address: as the user gave it.
        error: of fsspec, or of the package by which it reads such an address, which has errors of its own.
    """
    scheme = address.partition("://")[0].lower()
    if isinstance(error, ImportError):
        how = f"pip install 'fieldloop[{_EXTRAS[scheme]}]'" if scheme in _EXTRAS else str(error)
        return f"what reads such an address is not installed: {how}"
    what = f"cannot be reached: {hidden(str(error))}"
    if type(error).__name__ in _NO_KEYS:
        what += "; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL for a store that is not AWS's"
    return what
