"""What a replica answers with, in the shape and size of vLLM's."""

import json
from typing import Any, Final

from bench.samples.page import MODEL


def _document(kind: str, choice: dict[str, Any], **fields: Any) -> bytes:
    document = {
        "id": "chatcmpl-5f0c7ab2b5d04c8aa8d9cf1d26be0a13",
        "object": kind,
        "created": 1_700_000_000,
        "model": MODEL,
        "choices": [{"index": 0, "logprobs": None, "finish_reason": None, **choice}],
    }
    return json.dumps(document | fields, separators=(",", ":")).encode()


def _event(**fields: Any) -> bytes:
    return b"data: " + _document("chat.completion.chunk", **fields) + b"\n\n"


_USAGE: Final = {
    "prompt_tokens": 512,
    "completion_tokens": 24,
    "total_tokens": 536,
    "prompt_tokens_details": {"cached_tokens": 256},
}
_SAID: Final = {"message": {"role": "assistant", "content": "The harbour lies under the meadow. " * 4}}

DOCUMENT: Final = _document("chat.completion", _SAID, usage=_USAGE)
"""A whole answer."""
TOKEN: Final = _event(choice={"delta": {"content": " harbour"}})
"""One event of a stream."""
LAST: Final = (_event(choice={"delta": {}}, usage=_USAGE), b"data: [DONE]\n\n")
"""The events that end it."""
