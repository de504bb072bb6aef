"""A card's token comes out of the fleet's own folder, and the register knows for whom it is."""

from pathlib import Path

import pytest

from broker.audit import AUDIT_NAME
from broker.errors import BrokerError
from broker.identity.names import parse_identity
from tests.fleet_server import make_fleet, registrar_of
from trainer.cli.card_tokens import make_card_token


def test_a_token_is_for_the_device_alone_and_its_order_is_written_down(tmp_path: Path):
    fleet = make_fleet(tmp_path / "fleet")
    text = make_card_token(fleet.path, "press-7")
    assert text.startswith("test.")
    register = fleet.open_register()
    (token,) = register.tokens()
    assert (token.name, token.uses) == ("press-7", 1)
    register.close()
    audit = (fleet.path / AUDIT_NAME).read_text()
    assert '"add"' in audit
    assert '"token"' in audit
    assert text not in audit


def test_of_two_cards_of_a_device_that_never_enrolled_the_later_counts(tmp_path: Path):
    fleet = make_fleet(tmp_path / "fleet")
    make_card_token(fleet.path, "press-7")
    make_card_token(fleet.path, "press-7")
    register = fleet.open_register()
    assert sorted(token.withdrawn for token in register.tokens()) == [False, True]
    register.close()


def test_a_device_that_had_a_certificate_is_refused_with_the_way_to_another_card(tmp_path: Path):
    fleet = make_fleet(tmp_path / "fleet")
    with registrar_of(fleet) as registrar:
        registrar.revoke(registrar.add(parse_identity("press-7")), "lost")
    with pytest.raises(BrokerError, match=r"device rotate press-7 --out"):
        make_card_token(fleet.path, "press-7")


def test_a_folder_without_a_fleet_is_named(tmp_path: Path):
    with pytest.raises(BrokerError, match="nowhere"):
        make_card_token(tmp_path / "nowhere", "press-7")
