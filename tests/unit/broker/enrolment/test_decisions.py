"""The decisions of the endpoint, against a real register and a real authority."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from broker.enrolment.decisions import MAX_REFUSED_PER_TOKEN, Enrolment, EnrolmentRules, Granted, RefusedError
from broker.enrolment.limits import Budget, Limits
from broker.identity.folder import FleetFile, FleetFolder, init_fleet
from broker.identity.keys import make_request
from broker.identity.names import Identity, Role
from broker.identity.register import Register
from broker.identity.registrar import Registrar
from broker.identity.tokens import make_token
from broker.topics import FleetId

DAY_S = 86_400.0
ADDRESS = "10.0.0.1"
PLENTY = Budget(10_000, 10_000)


@dataclass
class World:
    """A fleet at a time that the test decides."""

    folder: FleetFolder
    register: Register
    now_s: float = 1_800_000_000.0
    limits: Limits = field(default_factory=lambda: Limits(PLENTY, PLENTY, PLENTY))

    @property
    def registrar(self) -> Registrar:
        return Registrar(self.register, self.folder.fleet, "anna", lambda: self.now_s, write_down=lambda *_: None)

    @property
    def enrolment(self) -> Enrolment:
        return Enrolment(
            self.register,
            self.folder.open_issuer(),
            self.folder.fleet,
            self.limits,
            rules=EnrolmentRules(),
            utc_s=lambda: self.now_s,
            monotonic_s=lambda: self.now_s,
        )

    def enrol(self, token: str, device: str, csr: bytes | None = None, address: str = ADDRESS) -> Granted:
        return self.enrolment.enrol(token, csr or a_request(), device, address)

    def renew(self, granted: Granted, csr: bytes | None = None) -> Granted:
        return self.enrolment.renew(der_of(granted), csr or a_request(), ADDRESS)

    def refused(self) -> dict[str, int]:
        return {each.kind: each.count for each in self.register.refusals()}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    about = FleetFile("plant", ("broker.example",), 8883, 8884)
    folder = init_fleet(tmp_path / "fleet", about, b"correct horse battery", 1_800_000_000.0)
    register = folder.open_register()
    yield World(folder, register)
    register.close()


def a_request(key: object = None, curve: ec.EllipticCurve | None = None) -> bytes:
    signer = key or ec.generate_private_key(curve or ec.SECP256R1())
    # It asks for things that it must not get.
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "operator:root")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)  # type: ignore[arg-type]


def certificate_of(granted: Granted) -> x509.Certificate:
    return x509.load_pem_x509_certificates(granted.chain)[0]


def der_of(granted: Granted) -> bytes:
    return certificate_of(granted).public_bytes(serialization.Encoding.DER)


def test_a_token_gets_a_device_a_certificate_with_the_names_and_uses_that_are_ours(world: World):
    granted = world.enrol(world.registrar.make_token(DAY_S).text, "press-1")
    leaf, intermediate = x509.load_pem_x509_certificates(granted.chain)
    assert leaf.subject.rfc4514_string() == "CN=press-1,OU=device,O=plant"
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not constraints.ca
    uses = list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert uses == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert leaf.serial_number.bit_length() == 128
    assert leaf.not_valid_after_utc.timestamp() == world.now_s + 30 * DAY_S
    assert leaf.not_valid_before_utc.timestamp() == world.now_s - 3600
    assert intermediate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_openssl_itself_finds_the_chain_good(world: World, tmp_path: Path):
    granted = world.enrol(world.registrar.make_token(DAY_S).text, "press-1")
    chain = tmp_path / "chain.pem"
    chain.write_bytes(granted.chain)
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-attime", str(int(world.now_s))]
    subprocess.run([*command, "-CAfile", world.folder.ca, "-untrusted", chain, chain], check=True, capture_output=True)


def test_a_token_is_good_for_one_device_once(world: World):
    token = world.registrar.make_token(DAY_S).text
    world.enrol(token, "press-1")
    for device in ("press-1", "press-2"):
        with pytest.raises(RefusedError, match="used already") as told:
            world.enrol(token, device)
        assert (told.value.kind, told.value.status) == ("used_token", 403)
    assert world.refused() == {"used_token": 2}


def test_a_device_whose_answer_was_lost_gets_the_same_answer_again(world: World):
    token, csr = world.registrar.make_token(DAY_S).text, a_request()
    assert world.enrol(token, "press-1", csr) == world.enrol(token, "press-1", csr)
    assert len(world.register.certificates("press-1")) == 1
    with pytest.raises(RefusedError):
        world.enrol(token, "press-2", csr)


def test_a_token_for_three_enrols_three_devices(world: World):
    token = world.registrar.make_token(DAY_S, uses=3).text
    for device in ("press-1", "press-2", "press-3"):
        world.enrol(token, device)
    with pytest.raises(RefusedError, match="used already"):
        world.enrol(token, "press-4")


def test_a_token_that_has_expired_is_refused(world: World):
    token = world.registrar.make_token(DAY_S).text
    world.now_s += DAY_S
    with pytest.raises(RefusedError, match="expired"):
        world.enrol(token, "press-1")
    assert world.refused() == {"expired_token": 1}


def test_a_token_of_another_fleet_or_of_nobody_is_refused(world: World):
    for fleet, kind in (("other", "other_fleet"), ("plant", "unknown_token")):
        with pytest.raises(RefusedError) as told:
            world.enrol(make_token(FleetId(fleet), world.now_s).text, "press-1")
        assert told.value.kind == kind
    with pytest.raises(RefusedError):
        world.enrol("no token at all", "press-1")
    assert world.refused() == {"other_fleet": 1, "unknown_token": 2}


def test_a_token_for_one_device_serves_no_other_one(world: World):
    token = world.registrar.make_token(DAY_S, identity=world.registrar.add(Identity(Role.DEVICE, "press-1"))).text
    with pytest.raises(RefusedError, match="not for press-2"):
        world.enrol(token, "press-2")
    assert world.enrol(token, "press-1").device == "press-1"


def test_a_token_for_any_device_takes_no_name_that_is_known(world: World):
    world.registrar.add(Identity(Role.DEVICE, "press-1"))
    with pytest.raises(RefusedError, match="known already") as told:
        world.enrol(world.registrar.make_token(DAY_S).text, "press-1")
    assert told.value.status == 409


def test_who_guesses_is_silenced_and_others_are_not(world: World):
    world.limits = Limits(PLENTY, Budget(5, 1), PLENTY)
    token = world.registrar.make_token(DAY_S).text
    kinds = []
    for _ in range(8):
        with pytest.raises(RefusedError) as told:
            world.enrol(make_token(FleetId("plant"), world.now_s).text, "press-1")
        kinds.append(told.value.kind)
    assert kinds == ["unknown_token"] * 5 + ["too_many"] * 3
    with pytest.raises(RefusedError, match="too many"):
        world.enrol(token, "press-1")
    assert world.refused() == {"unknown_token": 5}
    world.enrol(token, "press-1", address="10.0.0.2")


def test_a_token_that_is_shown_in_vain_too_often_is_locked(world: World):
    token = world.registrar.make_token(DAY_S, uses=10).text
    world.registrar.add(Identity(Role.DEVICE, "taken"))
    for _ in range(MAX_REFUSED_PER_TOKEN):
        with pytest.raises(RefusedError, match="known already"):
            world.enrol(token, "taken")
    with pytest.raises(RefusedError, match="locked"):
        world.enrol(token, "press-1")


@pytest.mark.parametrize(
    "csr",
    [b"", b"nonsense", b"x" * 5000, a_request(curve=ec.SECP384R1()), a_request(rsa.generate_private_key(65537, 2048))],
    ids=["empty", "nonsense", "long", "P-384", "RSA"],
)
def test_a_request_that_is_none_uses_up_no_token(world: World, csr: bytes):
    token = world.registrar.make_token(DAY_S).text
    with pytest.raises(RefusedError) as told:
        world.enrolment.enrol(token, csr, "press-1", ADDRESS)
    assert told.value.status == 400
    world.enrol(token, "press-1")


def test_a_request_that_its_key_did_not_sign_is_refused(world: World):
    der = bytearray(x509.load_pem_x509_csr(a_request()).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(RefusedError, match="not signed"):
        world.enrol(world.registrar.make_token(DAY_S).text, "press-1", forged)


@pytest.mark.parametrize("name", ["", "Press", "operator:anna", "press-1.1", "a/b", "x" * 64, "\x1b[31m"])
def test_a_name_that_no_device_can_have_is_refused(world: World, name: str):
    with pytest.raises(RefusedError) as told:
        world.enrol(world.registrar.make_token(DAY_S).text, name)
    assert told.value.status == 400
    assert str(told.value).isprintable()


def test_a_device_renews_and_then_the_one_before_renews_no_more(world: World):
    first = world.enrol(world.registrar.make_token(DAY_S).text, "press-1")
    world.now_s += 20 * DAY_S
    second = world.renew(first)
    assert second.not_after_utc_s == world.now_s + 30 * DAY_S
    # The answer may have been lost: until the second one is used, the first one renews.
    world.renew(first)
    third = world.renew(second)
    with pytest.raises(RefusedError, match="two may hold its key") as told:
        world.renew(first)
    assert told.value.kind == "superseded"
    world.renew(third)


def test_a_certificate_that_has_ended_renews_within_the_grace_and_not_after(world: World):
    granted = world.enrol(world.registrar.make_token(DAY_S).text, "press-1")
    world.now_s = granted.not_after_utc_s + 90 * DAY_S
    world.renew(granted)
    world.now_s += 1
    with pytest.raises(RefusedError, match="ended 90 days ago"):
        world.renew(granted)


def test_a_revoked_device_renews_no_more_and_its_name_is_told_to_the_broker(world: World):
    granted = world.enrol(world.registrar.make_token(DAY_S).text, "press-1")
    world.registrar.revoke(Identity(Role.DEVICE, "press-1"), "stolen")
    with pytest.raises(RefusedError, match="revoked"):
        world.renew(granted)
    view = world.register.view()
    assert (view.active, view.revoked) == ((), ("press-1",))
    with pytest.raises(RefusedError, match="known already"):
        world.enrol(world.registrar.make_token(DAY_S).text, "press-1")


def test_a_rotated_device_enrols_under_its_next_name_and_its_old_certificate_is_of_no_use(world: World):
    old = world.enrol(world.registrar.make_token(DAY_S).text, "press-1")
    new = world.registrar.rotate(Identity(Role.DEVICE, "press-1"), "key copied")
    with pytest.raises(RefusedError, match="rotated"):
        world.renew(old)
    granted = world.enrol(world.registrar.make_token(DAY_S, identity=new).text, "press-1")
    assert certificate_of(granted).subject.rfc4514_string() == "CN=press-1.1,OU=device,O=plant"
    assert granted.device == "press-1"
    view = world.register.view()
    assert ([identity.name for identity in view.active], view.revoked) == (["press-1.1"], ("press-1",))
    world.renew(granted)


def test_rotating_makes_the_tokens_of_the_name_before_worthless(world: World):
    token = world.registrar.make_token(DAY_S, identity=world.registrar.add(Identity(Role.DEVICE, "press-1"))).text
    world.registrar.rotate(Identity(Role.DEVICE, "press-1"), "card lost")
    with pytest.raises(RefusedError, match="withdrawn"):
        world.enrol(token, "press-1")


def test_a_certificate_that_is_not_the_registers_own_under_its_number_is_refused(world: World):
    granted = world.enrol(world.registrar.make_token(DAY_S).text, "press-1")
    world.register._db.execute("UPDATE certificates SET fingerprint = 'another'")
    with pytest.raises(RefusedError, match="not in the fleet's register"):
        world.renew(granted)


def test_renewal_without_a_certificate_with_a_persons_or_with_anothers_is_refused(world: World, tmp_path: Path):
    anna = world.registrar.add(Identity(Role.OPERATOR, "anna"))
    _, request = make_request()
    issued = world.registrar.sign(world.folder.open_issuer(), request, anna)
    person = Granted("anna", issued.chain, 0.0, 0.0)
    about = FleetFile("plant", ("broker.example",), 8883, 8884)
    other = init_fleet(tmp_path / "other", about, b"correct horse battery", world.now_s)
    foreign = other.open_issuer().issue(request, Identity(Role.DEVICE, "press-1"), world.now_s, 30)
    with pytest.raises(RefusedError, match="none was shown"):
        world.enrolment.renew(None, a_request(), ADDRESS)
    with pytest.raises(RefusedError, match="does not renew here"):
        world.renew(person)
    with pytest.raises(RefusedError, match="not in the fleet's register"):
        world.renew(Granted("press-1", foreign.chain, 0.0, 0.0))
    assert world.refused() == {"no_certificate": 1, "not_a_device": 1, "unknown_certificate": 1}
