"""Certificates of a made-up fleet: an authority, a broker on loopback, and one for each device, good for a day."""

import datetime as dt
import ipaddress
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def write_certificates(folder: Path, devices: Iterable[str]) -> None:
    """Write ``ca.pem``, ``broker.pem`` and ``<device>.pem`` (certificate and key, P-256 as on small devices)."""
    folder.mkdir(parents=True, exist_ok=True)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("bench CA")
    constraints = x509.BasicConstraints(ca=True, path_length=0)
    ca = _builder(ca_name, ca_name, ca_key).add_extension(constraints, critical=True).sign(ca_key, hashes.SHA256())
    (folder / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    for subject in ("broker", *devices):
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(subject), ca_name, key)
        if subject == "broker":
            builder = builder.add_extension(address, critical=False)
        certificate = builder.sign(ca_key, hashes.SHA256())
        plain = serialization.NoEncryption()
        key_text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        path = folder / f"{subject}.pem"
        path.touch(0o600)
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + key_text)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    today = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - dt.timedelta(hours=1))
        .not_valid_after(today + dt.timedelta(days=1))
    )
