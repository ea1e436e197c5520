"""What all dialects share: usage in OpenAI's form, JSON bytes, and chunks cut once and filled often."""

from typing import Any, Protocol

import msgspec

from bench.simulator.jobs import Job

VERSION = "0.32.0"
_MARK = "\u241f"
"""Stands for the text while a chunk is cut; a symbol that generated text never contains."""

encode = msgspec.json.Encoder().encode


class Dialect(Protocol):
    """How one API tells a job's outcome. Stream events are called for in order, as tokens appear."""

    def body(self) -> dict[str, Any]:
        """The whole answer, once all choices have ended."""

    def opening(self) -> bytes:
        """Events before the first token."""

    def token(self, choice: int, index: int) -> bytes:
        """Events for token `index` of a choice, counted from 0."""

    def closing(self) -> bytes:
        """Events after the last token."""


def event(payload: dict[str, Any], name: str = "") -> bytes:
    """One server-sent event."""
    head = b"event: %s\n" % name.encode() if name else b""
    return b"%sdata: %s\n\n" % (head, encode(payload))


class Cut:
    """An event whose text is filled in again and again, without encoding the rest each time."""

    __slots__ = ("_head", "_tail")

    def __init__(self, payload: dict[str, Any], name: str = "") -> None:
        """`payload` has `Cut.text()` where the text goes."""
        self._head, self._tail = event(payload, name).split(_MARK.encode())

    @staticmethod
    def text() -> str:
        """The placeholder."""
        return _MARK

    def fill(self, text: str) -> bytes:
        """The event with this text, which must need no JSON escapes; filler needs none."""
        return self._head + text.encode() + self._tail


def piece(job: Job, choice: int, index: int) -> str:
    """The text of one token; filler tokens have four letters each."""
    return job.choices[choice].text[4 * index : 4 * index + 4]


def usage(job: Job, *, block_size: int = 0) -> dict[str, Any]:
    """Usage of a whole answer; with a block size, the full blocks that were new to the cache are told too."""
    created = None
    if block_size:
        full = sum(len(choice.prompt) // block_size * block_size for choice in job.choices[:: job.n])
        created = full - job.cached_tokens
    return {
        "prompt_tokens": job.prompt_tokens,
        "total_tokens": job.prompt_tokens + job.output_tokens,
        "completion_tokens": job.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": job.cached_tokens,
            "created_cache_tokens": created,
            "multimodal_tokens": None,
        },
        "completion_tokens_details": None,
    }


def final_usage(job: Job, *, block_size: int = 0) -> dict[str, Any]:
    """Usage at the end of a stream, where fields without a value are left out."""
    whole = usage(job, block_size=block_size)
    details = {key: value for key, value in whole["prompt_tokens_details"].items() if value is not None}
    kept = {key: whole[key] for key in ("prompt_tokens", "total_tokens", "completion_tokens")}
    return {**kept, "prompt_tokens_details": details}


def usage_so_far(job: Job, tokens: int) -> dict[str, int]:
    """Usage on a chunk of a stream."""
    return {
        "prompt_tokens": job.prompt_tokens,
        "total_tokens": job.prompt_tokens + tokens,
        "completion_tokens": tokens,
    }
