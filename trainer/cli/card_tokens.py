"""Makes the claim token of a card's device in the folder of its fleet, as ``fieldloop device add`` does."""

from pathlib import Path
from typing import Final

# A card may lie in a drawer for some time before its board starts.
EXPIRES_S: Final = 30 * 86_400.0


def make_card_token(folder: Path, device: str) -> str:
    """Put a device down in its fleet, and return the text of the claim token with which it, and no other, enrols.

    A device that never enrolled may have another card: the tokens that were made for it before hold no more.

    Raises:
        IdentityError: there is no fleet in the folder, or the device has its certificate, or had one.
    """
    from broker.commands.options import open_fleet, opened_register, parse_device_name, registrar_of

    fleet, identity = open_fleet(folder), parse_device_name(device)
    with opened_register(fleet) as register:
        registrar = registrar_of(register, fleet)
        return registrar.make_token(EXPIRES_S, identity=registrar.await_card(identity)).text
