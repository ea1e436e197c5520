import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from endpoint_picker.observability.admin import Page
from endpoint_picker.observability.metrics import Metrics

JUNK = {
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\xff",
    "an unknown version": b"GET /metrics HTTP/9.9\r\n\r\n",
    "a long header": b"GET /metrics HTTP/1.1\r\nhost: x\r\na: " + b"b" * 100_000 + b"\r\n\r\n",
}
GOOD = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    page = Page(Metrics())
    yield await page.start(0)
    await page.stop()


async def answer(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        async with asyncio.timeout(5.0):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("case", JUNK)
async def test_junk_is_refused_and_leaves_nothing_in_the_log(
    port: int, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await answer(port, JUNK[case])).startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
    assert caplog.records == []
    assert (await answer(port, GOOD)).startswith(b"HTTP/1.1 200")


async def test_a_failure_of_our_own_is_logged(
    port: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Any) -> bytes:
        raise RuntimeError("no page")

    monkeypatch.setattr(
        "endpoint_picker.observability.admin.choose_encoder", lambda _: (broken, "text/plain")
    )
    assert (await answer(port, GOOD)).startswith(b"HTTP/1.1 500")
    assert "no page" in caplog.text
