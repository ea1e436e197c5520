"""Decodes a chat in several requests of a few tokens each, so that none holds a place in the engine for long.

Each further request continues the message that the ones before it began. What cannot be continued is
decoded in one: several choices, tools, output of a given form, and log probabilities.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from endpoint_picker.parsing.bodies import count
from endpoint_picker.parsing.legs import FALSE, TRANSFER, TRUE, Fields
from endpoint_picker.sidecar.relay import body_of

Send = Callable[[Fields], Awaitable[web.Response]]
"""Has the engine answer one request, whole."""

LIMITS: Final = ("max_completion_tokens", "max_tokens")
WHOLE_ONLY: Final = (
    "tools", "functions", "response_format", "structured_outputs", "guided_json", "guided_regex",
    "guided_choice", "guided_grammar", "logprobs", "use_beam_search",
)  # fmt: skip
"""Fields that make a message one that cannot be continued."""
NOTHING: Final = (b"null", b"false", b"[]", b"{}")
ABSENT: Final = msgspec.Raw(b"")


def plan(fields: Fields, size: int, cached: int | None) -> "Plan | None":
    """How to decode this chat in pieces of so many tokens; None where it is to be decoded in one."""
    budget = count(*(fields.get(name, ABSENT) for name in LIMITS if fields.get(name, ABSENT) != ABSENT))
    if budget is not None and budget <= size:
        return None
    if any(bytes(fields[name]) not in NOTHING for name in WHOLE_ONLY if name in fields):
        return None
    if count(fields.get("n", ABSENT)) not in (None, 1):
        return None
    return Plan(fields, size, budget, cached)


class Plan:
    """One chat, piece by piece."""

    def __init__(self, fields: Fields, size: int, budget: int | None, cached: int | None) -> None:
        self._fields = {name: value for name, value in fields.items() if name != "stream_options"}
        self._fields["stream"] = FALSE
        self._streams = bytes(fields.get("stream", b"")) == b"true"
        self._size = size
        self._budget = budget
        """Tokens that the client wants at most; None: as many as there are."""
        self._least = count(fields.get("min_tokens", ABSENT)) or 0
        self._cached = cached
        self._first: dict[str, Any] = {}
        """The first piece's answer: what the pieces have in common."""
        self._text = ""
        self._tokens = 0
        self._reason: str | None = "length"

    async def run(self, request: web.Request, send: Send) -> web.StreamResponse:
        """Answer the client: with events, one a piece, or with one document."""
        piece = await self._next(send)
        if isinstance(piece, web.Response):
            return piece
        if not self._streams:
            return await self._document(send, piece)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        while isinstance(piece, str):
            await response.write(self._event(piece))
            if self._over(piece):
                await response.write(_event({**self._head(), "choices": [], "usage": self._usage()}))
                break
            piece = await self._next(send)
        if isinstance(piece, web.Response):
            await response.write(b"data: %b\n\n" % (body_of(piece) or b"{}").replace(b"\n", b" "))
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _document(self, send: Send, piece: "str | web.Response") -> web.Response:
        while isinstance(piece, str) and not self._over(piece):
            piece = await self._next(send)
        if isinstance(piece, web.Response):
            return piece
        choice = self._first["choices"][0]
        message = {**choice["message"], "content": self._text}
        whole = {
            **self._first,
            "choices": [{**choice, "message": message, "finish_reason": self._reason}],
            "usage": self._usage(),
        }
        return web.Response(body=msgspec.json.encode(whole), content_type="application/json")

    async def _next(self, send: Send) -> "str | web.Response":
        """The text of the next piece, or the answer that ends it all."""
        answer = await send(self._piece())
        try:
            document = msgspec.json.decode(body_of(answer))
            choice = document["choices"][0]
            text = choice["message"]["content"] or ""
        except (ValueError, LookupError, TypeError, RecursionError):
            # The engine refuses to go on where the context is full, which is an end like any other.
            return "" if self._first and answer.status == 400 else answer
        self._first = self._first or document
        self._text += text
        self._tokens += _completion(document) or self._size
        self._reason = choice.get("finish_reason")
        return str(text)

    def _piece(self) -> Fields:
        """The next request."""
        size = self._size if self._budget is None else min(self._size, self._budget - self._tokens)
        fields = {**self._fields, **dict.fromkeys(LIMITS, _raw(size))}
        fields.pop("min_tokens", None)
        if (least := min(self._least - self._tokens, size)) > 0:
            fields["min_tokens"] = _raw(least)
        if self._first:
            fields.pop(TRANSFER, None)
            fields["messages"] = self._continued(fields["messages"])
            fields["continue_final_message"] = TRUE
            fields["add_generation_prompt"] = FALSE
        return fields

    def _continued(self, messages: msgspec.Raw) -> msgspec.Raw:
        """The client's messages as they are, then what there is of the answer."""
        begun = _raw({"role": "assistant", "content": self._text})
        return _raw([*msgspec.json.decode(messages, type=list[msgspec.Raw]), begun])

    def _over(self, piece: str) -> bool:
        spent = self._budget is not None and self._tokens >= self._budget
        return self._reason != "length" or not piece or spent

    # === what the client is told ===

    def _head(self) -> dict[str, Any]:
        common = {name: value for name, value in self._first.items() if name in ("id", "created", "model")}
        return {"object": "chat.completion.chunk", **common}

    def _event(self, piece: str) -> bytes:
        reason = self._reason if self._over(piece) else None
        delta = {"role": "assistant", "content": piece}
        return _event({**self._head(), "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    def _usage(self) -> dict[str, Any]:
        """The prompt as the first piece counted it, and all that was generated."""
        usage = dict(self._first.get("usage") or {})
        prompt = usage.get("prompt_tokens") or 0
        usage |= {"completion_tokens": self._tokens, "total_tokens": prompt + self._tokens}
        if self._cached is not None:
            details = usage.get("prompt_tokens_details") or {}
            usage["prompt_tokens_details"] = {**details, "cached_tokens": self._cached}
        return usage


def _completion(document: dict[str, Any]) -> int | None:
    tokens = (document.get("usage") or {}).get("completion_tokens")
    return tokens if isinstance(tokens, int) else None


def _event(document: Any) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(document)


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
