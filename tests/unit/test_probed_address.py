"""Which addresses the hub sends no requests to."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.connections.probed_address import why_private, why_refused


@pytest.mark.parametrize(
    "address",
    (
        "169.254.169.254 169.254.170.2 fe80::1 fe80::1%eth0 224.0.0.1 239.255.255.255 ff02::1 255.255.255.255 0.0.0.0"
        " 0.1.2.3 :: ::ffff:169.254.169.254 ::ffff:0.0.0.0 64:ff9b::a9fe:a9fe 64:ff9b:1::a9fe:a9fe"
        " 2002:a9fe:a9fe:: fd00:ec2::254 100.100.100.200"
    ).split(),
)
def test_nobodys_service_is_there(address: str) -> None:
    assert why_refused(ip_address(address)) is not None


@pytest.mark.parametrize(
    "address",
    "10.0.0.7 192.168.1.1 172.16.0.1 100.64.0.1 127.0.0.1 ::1 8.8.8.8 fd12::7 2001:db8::1 ::ffff:10.0.0.7".split(),
)
def test_a_service_may_be_there(address: str) -> None:
    assert why_refused(ip_address(address)) is None


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_is_refused_as_it_is_itself(inner: IPv4Address) -> None:
    spelt = [
        IPv6Address(b"\x00" * 10 + b"\xff\xff" + inner.packed),
        IPv6Address(bytes.fromhex("0064ff9b0000000000000000") + inner.packed),
        IPv6Address(b"\x20\x02" + inner.packed + b"\x00" * 10),
    ]
    assert {why_refused(address) for address in spelt} == {why_refused(inner)}
    assert {why_private(address) for address in spelt} == {why_private(inner)}


@pytest.mark.parametrize(
    "address",
    (
        "127.0.0.1 127.8.9.10 ::1 10.0.0.7 172.31.255.255 192.168.1.1 100.64.0.1 198.18.0.1 192.0.2.1 240.0.0.1 fc00::1"
        " fd12::7 fec0::1 2001:db8::1 2001::1 ::ffff:127.0.0.1 ::ffff:10.0.0.7 64:ff9b::a00:7 64:ff9b:1::808:808"
        " 2002:a00:7:: ::127.0.0.1 ::10.0.0.7"
    ).split(),
)
def test_not_everybody_can_reach_it(address: str) -> None:
    assert why_private(ip_address(address)) is not None


@pytest.mark.parametrize(
    "address", "8.8.8.8 172.32.0.1 2600::1 2a00:1450:4001::8 ::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::".split()
)
def test_anybody_could_reach_it(address: str) -> None:
    assert why_private(ip_address(address)) is None
