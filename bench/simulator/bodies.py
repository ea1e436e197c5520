"""What all dialects share: usage in OpenAI's form, JSON bytes, and chunks cut once and filled often."""

from typing import Any, Protocol

import msgspec

from bench.simulator.jobs import Job
from bench.simulator.requests import Refused

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

    def failing(self, refused: Refused) -> bytes:
        """Events after the last token that there was, when not all could be made."""


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


DONE = b"data: [DONE]\n\n"


def broken_off(refused: Refused) -> bytes:
    """The end of a stream of OpenAI's older kind that cannot go on."""
    return event(refused.body()) + DONE


def piece(job: Job, choice: int, index: int) -> str:
    """The text of one token; filler tokens have four letters each."""
    return job.choices[choice].text[4 * index : 4 * index + 4]


def usage(job: Job, *, created: bool = False) -> dict[str, Any]:
    """Usage of a whole answer; `created`: with the tokens that were new to the cache."""
    return {
        "prompt_tokens": job.prompt_tokens,
        "total_tokens": job.prompt_tokens + job.output_tokens,
        "completion_tokens": job.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": job.cached_tokens,
            "created_cache_tokens": job.new_tokens if created else None,
            "multimodal_tokens": None,
        },
        "completion_tokens_details": None,
    }


def final_usage(job: Job, *, created: bool = False) -> dict[str, Any]:
    """Usage at the end of a stream, where fields without a value are left out."""
    whole = usage(job, created=created)
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
