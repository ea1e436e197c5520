"""Bodies of answers, read within a limit: who answers may be wrong, or may never end."""

import aiohttp


async def whole(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body, of at most so many bytes. Raises ClientPayloadError for a longer one."""
    body = bytearray()
    async for part in answer.content.iter_any():
        body += part
        if len(body) > limit:
            raise aiohttp.ClientPayloadError(f"the answer is larger than {limit} bytes")
    return bytes(body)
