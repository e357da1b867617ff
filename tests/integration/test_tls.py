"""TLS by setting: the hub speaks HTTPS and nothing else, and says so to browsers."""

import ipaddress
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from central_hub.errors import StartupRefused


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "central-hub test")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = tmp_path / "hub.crt", tmp_path / "hub.key"
    certificate_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


async def test_with_a_certificate_the_hub_speaks_https_only(
    start_hub: Callable[..., Any], certificate: tuple[Path, Path]
) -> None:
    hub = await start_hub(tls_cert_file=certificate[0], tls_key_file=certificate[1])
    assert hub.url.startswith("https://127.0.0.1:")
    trust = ssl.create_default_context(cafile=str(certificate[0]))
    async with httpx2.AsyncClient(
        base_url=hub.url, verify=trust, headers={"Authorization": f"Bearer {hub.token}"}
    ) as client:
        written = await client.put("/api/v1/config/some", json={"a": 1})
        assert written.status_code == 200
        assert "strict-transport-security" in written.headers
        assert (await client.get("/api/v1/config/some")).json()["config"] == {"a": 1}
    async with httpx2.AsyncClient(base_url=hub.url.replace("https", "http")) as plain:
        with pytest.raises(httpx2.HTTPError):
            await plain.get("/health/live")


async def test_half_a_tls_setting_is_refused(start_hub: Callable[..., Any], certificate: tuple[Path, Path]) -> None:
    with pytest.raises(StartupRefused, match="TLS needs both"):
        await start_hub(tls_cert_file=certificate[0])
    with pytest.raises(StartupRefused, match="there is no file"):
        await start_hub(tls_cert_file=certificate[0], tls_key_file=Path("/nowhere"))


async def test_a_taken_port_is_named(start_hub: Callable[..., Any]) -> None:
    hub = await start_hub()
    port = int(hub.url.rpartition(":")[2])
    with pytest.raises(StartupRefused, match=f"port {port} on 127.0.0.1 is taken"):
        await start_hub(port=port)
