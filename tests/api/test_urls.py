"""Addresses that a caller supplies: what a model server may be told to fetch."""

from __future__ import annotations

import pytest

from gateway.api.urls import why_not


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.png",
        "http://example.com:8080/a?b=http://127.0.0.1/",
        "https://93.184.216.34/a.png",
        "https://[2606:2800:220:1::1]/a.png",
        "data:image/png;base64,AAAA",
    ],
)
def test_public_addresses_are_taken(url: str) -> None:
    assert why_not(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://example.com/",
        "ftp://example.com/a",
        "//example.com/a",
        "a.png",
        "",
        "http://",
        "http://[::1",
        "http://127.0.0.1/",
        "http://10.1.2.3/",
        "http://192.168.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://0.0.0.0/",
        "http://100.64.0.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[2002:7f00:1::]/",
        "http://[fd00:ec2::254]/",
        "http://[fe80::1%25eth0]/",
        "http://224.0.0.1/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://db.internal/",
        "http://printer.local/",
        "http://intranet/",
        "http://user@127.0.0.1/",
        "http://example.com@127.0.0.1/",
    ],
)
def test_others_are_not(url: str) -> None:
    assert why_not(url) is not None
