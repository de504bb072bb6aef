"""Says why an address cannot be reached, and what to do about it: what to install, where keys are taken from."""

from typing import Final

from trainer.project.stores import hidden

# The extra that brings what reads addresses of a scheme.
_EXTRAS: Final = {"http": "http", "https": "http"}
_S3: Final = frozenset({"s3", "s3a"})
# In the words of Arrow's client: there are no keys, or the store knows others.
_NO_KEYS: Final = (
    "ACCESS_DENIED",
    "INVALID_ACCESS_KEY_ID",
    "INVALID_SIGNATURE",
    "SIGNATURE_DOES_NOT_MATCH",
    "credentials",
)


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
    return f"cannot be reached: {told_of(address, error)}"


def told_of(address: str, error: Exception) -> str:
    """Return the words of an error without its passwords, and what to do where it was for want of keys."""
    what = hidden(str(error)).rstrip(". ")
    if address.partition("://")[0].lower() in _S3 and any(word in what for word in _NO_KEYS):
        what += "; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL for a store that is not AWS's"
    return what
