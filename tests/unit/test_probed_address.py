"""Which addresses the hub does not ask for their health."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.connections.probed_address import why_refused


@pytest.mark.parametrize(
    "address",
    (
        "169.254.169.254 169.254.170.2 fe80::1 fe80::1%eth0 224.0.0.1 239.255.255.255 ff02::1 255.255.255.255 0.0.0.0"
        " 0.1.2.3 :: ::ffff:169.254.169.254 ::ffff:0.0.0.0 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe:: fd00:ec2::254"
        " 100.100.100.200"
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
