"""Certificates of the serving port: the operator's own, or a self-signed one made at the start."""

import datetime
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from endpoint_picker.core.errors import ConfigError

CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
PROTOCOL: Final = "h2"
"""Of HTTP/2, in the handshake (RFC 9113, 3.2)."""
HTTP: Final = "http/1.1"
VALIDITY: Final = datetime.timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate chain and its private key, both PEM."""

    certificate: bytes
    key: bytes


def self_signed() -> Identity:
    """A certificate that encrypts but proves nothing: clients must skip verification.

    P-256 instead of the usual RSA-4096: it is as safe and takes a millisecond instead of a second.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "endpoint-picker")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Identity(certificate.public_bytes(serialization.Encoding.PEM), private)


def load(folder: Path) -> Identity:
    """`tls.crt` and `tls.key` of a folder. Raises ConfigError when they cannot serve."""
    identity = Identity(_read(folder / CERTIFICATE), _read(folder / KEY))
    try:
        chain = x509.load_pem_x509_certificates(identity.certificate)
        key = serialization.load_pem_private_key(identity.key, password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"--cert-path {folder}: {CERTIFICATE} and {KEY} must be PEM: {error}") from error
    if chain[0].public_key() != key.public_key():
        raise ConfigError(
            f"--cert-path {folder}: {KEY} is not the key of the first certificate in {CERTIFICATE}"
        )
    return identity


def reloader(folder: Path, on_error: Callable[[ConfigError], None]) -> Callable[[], Identity | None]:
    """A function that answers a new identity whenever the files have changed, and None otherwise.

    Files that cannot serve keep the old identity; `on_error` is told once a change.
    """
    seen = _stamp(folder)

    def changed() -> Identity | None:
        nonlocal seen
        stamp = _stamp(folder)
        if stamp == seen:
            return None
        seen = stamp
        try:
            return load(folder)
        except ConfigError as error:
            on_error(error)
            return None

    return changed


Renewed = Callable[[], Identity | None]
"""Answers a new identity when there is one."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """What a port proves itself with."""

    identity: Identity
    """At the start."""
    renewed: Renewed | None = None
    """Asked before each handshake."""
    protocol: str = PROTOCOL

    def context(self) -> ssl.SSLContext:
        """For handshakes. Connections that are open keep what they began with."""
        context = server_context(self.identity, self.protocol)
        if self.renewed is not None:
            context.sni_callback = _Switch(server_context(self.identity, self.protocol), self)
        return context


class _Switch:
    """Puts a handshake into the newest context; called early in each of them, with or without a name."""

    def __init__(self, newest: ssl.SSLContext, certificates: Certificates) -> None:
        self._newest = newest
        self._certificates = certificates

    def __call__(self, handshake: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        renewed = self._certificates.renewed
        identity = renewed() if renewed is not None else None
        if identity is not None:
            self._newest = server_context(identity, self._certificates.protocol)
        handshake.context = self._newest


def server_context(identity: Identity, protocol: str = PROTOCOL) -> ssl.SSLContext:
    """TLS 1.2 and newer (RFC 9113, 9.2), with this as the only protocol to be agreed on (3.2)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # 9.2.1
    context.set_alpn_protocols([protocol])
    # The library takes files only; the key is readable to nobody else, and gone when it is read.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / CERTIFICATE).write_bytes(identity.certificate)
        (folder / KEY).write_bytes(identity.key)
        context.load_cert_chain(folder / CERTIFICATE, folder / KEY)
    return context


def _stamp(folder: Path) -> tuple[tuple[int, int], ...]:
    return tuple(_file_stamp(folder / name) for name in (CERTIFICATE, KEY))


def _file_stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_ino)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"--cert-path: cannot read {path} ({error.strerror}); "
            f"the folder must hold {CERTIFICATE} and {KEY}"
        ) from error
