"""Lists, revokes and hands out tokens for identities of any role: what several commands do alike."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from broker.commands.options import give, minute_of, open_fleet, opened_register, print_json, registrar_of, utc_s
from broker.identity.names import Identity, Role

if TYPE_CHECKING:
    from broker.identity.register import IdentityRow, Register
    from broker.identity.registrar import Registrar


FOLLOWS: Final = (
    "`fieldloop broker up` follows within a second, another broker once `fieldloop broker render` has written its "
    "rules and it has read them again"
)


def is_of(row: "IdentityRow", identity: Identity) -> bool:
    """Tell whether a row is of an identity, whatever its generation."""
    return (row.identity.role, row.identity.owner) == (identity.role, identity.owner)


def shown(row: "IdentityRow", register: "Register") -> dict[str, Any]:
    """Return an identity with its certificates, for JSON."""
    return {
        "name": row.identity.name,
        "role": row.identity.role.value,
        "state": row.state,
        "since_utc_s": row.since_utc_s,
        "by": row.by,
        "reason": row.reason,
        "certificates": [
            {
                "serial": held.serial,
                "fingerprint": held.fingerprint,
                "not_before_utc_s": held.not_before_utc_s,
                "not_after_utc_s": held.not_after_utc_s,
                "by": held.by,
                "superseded": held.superseded,
            }
            for held in register.certificates(row.identity.name)
        ],
    }


def print_list(folder: Path, *, as_json: bool, of_devices: bool) -> None:
    """Print the identities of devices, or of people and services."""
    fleet = open_fleet(folder)
    with opened_register(fleet) as register:
        rows = [row for row in register.identities() if (row.identity.role is Role.DEVICE) == of_devices]
        found = [shown(row, register) for row in rows]
        tokens = register.tokens() if of_devices else ()
    now_s = utc_s()
    out = [t for t in tokens if not t.withdrawn and t.used < t.uses and now_s < t.expires_utc_s]
    if as_json:
        told: dict[str, object] = {"devices" if of_devices else "people": found}
        if of_devices:
            told["tokens"] = [
                {
                    "label": t.digest[:12],
                    "for": t.name,
                    "uses": t.uses,
                    "used": t.used,
                    "expires_utc_s": t.expires_utc_s,
                }
                for t in out
            ]
        print_json(told)
        return
    for each in found:
        held = each["certificates"]
        if each["state"] in {"revoked", "rotated"}:
            until = "good for nothing"
        else:
            until = f"good until {minute_of(held[-1]['not_after_utc_s'])}" if held else "no certificate yet"
        typer.echo(f"{each['name']:32} {each['state']:8} {until}  {each['reason']}")
    for t in out:
        whose = t.name or "any new device"
        typer.echo(f"token {t.digest[:12]} for {whose}: {t.used} of {t.uses} used, until {minute_of(t.expires_utc_s)}")


def revoke(folder: Path, identity: Identity, reason: str, *, as_json: bool) -> None:
    """Revoke an identity and say so."""
    fleet = open_fleet(folder)
    with opened_register(fleet) as register:
        row = registrar_of(register, fleet).revoke(identity, reason)
    if as_json:
        print_json({"name": row.identity.name, "state": row.state, "reason": row.reason})
    else:
        typer.echo(f"{row.identity.name} is revoked; {FOLLOWS}")


def give_token(
    registrar: "Registrar", identity: Identity, expires_s: float, out: Path | None, *, as_json: bool
) -> None:
    """Make a claim token for an identity, and print it or write it to a file."""
    token = registrar.make_token(expires_s, identity=identity)
    told = {"device": identity.owner, "name": identity.name, "token": token.text, "label": token.label}
    give(json.dumps(told) if as_json and out is None else token.text, out, is_secret=True)
    if out is not None:
        typer.echo(f"wrote {out}: token {token.label}, with which {identity.owner} enrols once")
