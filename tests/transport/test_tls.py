import ssl
from pathlib import Path

import pytest

from endpoint_picker.core.errors import ConfigError
from endpoint_picker.transport import tls


def write(folder: Path, identity: tls.Identity) -> None:
    (folder / "tls.crt").write_bytes(identity.certificate)
    (folder / "tls.key").write_bytes(identity.key)


def test_a_self_signed_identity_can_serve(tmp_path: Path) -> None:
    write(tmp_path, tls.self_signed())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    assert tls.load(tmp_path).certificate.startswith(b"-----BEGIN CERTIFICATE-----")


def test_each_start_has_its_own_key() -> None:
    assert tls.self_signed().key != tls.self_signed().key


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "tls.crt").write_bytes(tls.self_signed().certificate)
    with pytest.raises(ConfigError, match=r"tls\.key"):
        tls.load(tmp_path)


@pytest.mark.parametrize(
    "junk", [b"", b"not pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_files_that_are_no_pem_are_refused(tmp_path: Path, junk: bytes) -> None:
    write(tmp_path, tls.Identity(junk, tls.self_signed().key))
    with pytest.raises(ConfigError, match="PEM"):
        tls.load(tmp_path)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    write(tmp_path, tls.Identity(tls.self_signed().certificate, tls.self_signed().key))
    with pytest.raises(ConfigError, match="not the key"):
        tls.load(tmp_path)


def test_changed_files_are_taken_and_bad_ones_are_not(tmp_path: Path) -> None:
    write(tmp_path, tls.self_signed())
    complaints: list[ConfigError] = []
    renewed = tls.reloader(tmp_path, complaints.append)
    assert renewed() is None
    new = tls.self_signed()
    write(tmp_path, new)
    assert renewed() == new
    assert renewed() is None
    (tmp_path / "tls.key").write_bytes(b"junk")
    assert renewed() is None
    assert renewed() is None
    assert len(complaints) == 1
