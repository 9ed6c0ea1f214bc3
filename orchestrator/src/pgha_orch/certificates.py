"""X.509 certificates: a CA, leaves that it signs, and whether one still is right."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CA_DAYS = 3650
LEAF_DAYS = 825
RENEW_DAYS = 30
# Certificates start this long ago: a machine whose clock is behind still takes them.
_BACKDATE = dt.timedelta(hours=24)


@dataclass(frozen=True)
class Authority:
    """A CA that signs now. `now` is an aware time."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    now: dt.datetime

    def sign(
        self,
        cn: str,
        public: ec.EllipticCurvePublicKey,
        names: Sequence[x509.GeneralName],
        usages: Sequence[x509.ObjectIdentifier],
    ) -> bytes:
        """A leaf certificate, PEM."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)])
        certificate = (
            _builder(subject, self.certificate.subject, public, self.now, LEAF_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)

    def still_right(
        self,
        certificate: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        names: Sequence[x509.GeneralName],
        usages: Sequence[x509.ObjectIdentifier],
    ) -> bool:
        """Whether a leaf is ours, of this key, for just these names and usages, and does not end soon."""
        try:
            found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            certificate.verify_directly_issued_by(self.certificate)
        except (x509.ExtensionNotFound, ValueError, TypeError, InvalidSignature):
            return False
        return (
            set(found) == set(names)
            and set(purposes) == set(usages)
            and certificate.public_key() == key.public_key()
            and certificate.not_valid_after_utc - self.now > dt.timedelta(days=RENEW_DAYS)
        )


def make_authority(cluster: str, now: dt.datetime) -> bytes:
    """A new CA: certificate and key in one PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"pgha {cluster} CA")])
    certificate = (
        _builder(subject, subject, key.public_key(), now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + pem_key(key)


def certificate_end(pem: bytes) -> dt.datetime | None:
    """When the first certificate of a PEM file ends (UTC); None when there is none in it."""
    try:
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc
    except ValueError:
        return None


def load_ec_key(data: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(data, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not an EC key")
    return key


def pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: dt.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
