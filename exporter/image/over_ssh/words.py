"""Turns what ``ssh`` says when it fails into what the user can do: a pure function over its last words."""

from collections.abc import Sequence
from typing import Final

from exporter.image.over_ssh.target import SshTarget

# ssh's own exit code, of no command on the other side.
SSH_FAILED: Final = 255
_CHANGED_ADVICE: Final = (
    "its host key is another than the one that is known: somebody may be in between, or the board was set up anew. "
    "Find out which; then remove the old key with ssh-keygen -R {place}"
)
_UNKNOWN_ADVICE: Final = (
    "its host key is not known here. Log in once by hand (ssh {options}{target}) and compare what it shows with the "
    "board's own (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub there); or say --accept-new-host-key, which "
    "believes it this once and holds it to that from then on"
)
# The first that fits counts: a changed key fails the verification, too.
_ADVICE: Final[Sequence[tuple[str, str]]] = (
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", _CHANGED_ADVICE),
    ("Host key verification failed", _UNKNOWN_ADVICE),
    ("Permission denied", "it does not let {who} in: is the user right, and is your key among its authorized_keys?"),
    ("Could not resolve hostname", "there is no such name: is the board on, and in this network?"),
    ("Connection refused", "no server of SSH listens there: enable it on the board (sudo systemctl enable --now ssh)"),
    ("timed out", "it does not answer: is it on, and in this network?"),
    ("No route to host", "it does not answer: is it on, and in this network?"),
    ("Too many authentication failures", "ssh offered too many keys: name one with IdentityFile in ~/.ssh/config"),
)


def explained(target: SshTarget, said: str) -> str:
    """Return what went wrong, and what to do."""
    port = "" if target.port is None else f"-p {target.port} "
    place = target.host if target.port is None else f"'[{target.host}]:{target.port}'"
    for words, advice in _ADVICE:
        if words in said:
            told = advice.format(target=target, place=place, options=port, who=target.user or "you")
            return f"{target} cannot be reached: {told}"
    lines = said.strip().splitlines() or ["no word"]
    return f"{target} cannot be reached: {lines[-1]}"
