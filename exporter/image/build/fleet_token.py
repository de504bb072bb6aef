"""Makes the claim token of one device from its fleet's folder, as ``fieldloop device add`` does."""

from pathlib import Path
from typing import Final

from broker.commands.options import opened_register, parse_device_name, registrar_of
from broker.errors import WireError
from broker.identity.folder import FleetFolder
from broker.identity.names import IdentityError
from exporter.image.errors import CardError

# A card may lie in a drawer for some time before its board starts.
EXPIRES_S: Final = 30 * 86_400


def device_token(folder: Path, device: str) -> str:
    """Put a device down in its fleet and return the claim token with which it, and no other, enrols.

    Raises:
        CardError: there is no fleet in the folder, or the device is known already.
    """
    try:
        fleet = FleetFolder(folder)
        identity = parse_device_name(device)
        with opened_register(fleet) as register:
            registrar = registrar_of(register, fleet)
            return registrar.make_token(EXPIRES_S, identity=registrar.add(identity)).text
    except (IdentityError, WireError) as error:
        raise CardError(
            f"{error}. For a card in place of one that was lost: fieldloop device rotate {device} --out FILE, "
            "and --claim FILE here"
        ) from error
