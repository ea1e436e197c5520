"""Where an HTTP message ends, however its bytes are cut."""

from itertools import pairwise

import pytest

from bench.overhead.http1 import Message

PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
EMPTY = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
BODYLESS = b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n"


@pytest.mark.parametrize("message", [PLAIN, CHUNKED, EMPTY, BODYLESS])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_it_ends_with_its_last_byte(message: bytes, size: int) -> None:
    cuts = [*range(0, len(message), size), len(message)]
    reader = Message()
    complete = [reader.feed(message[start:end]) for start, end in pairwise(cuts)]
    assert complete == [False] * (len(complete) - 1) + [True]
    assert reader.head == message.partition(b"\r\n\r\n")[0]
