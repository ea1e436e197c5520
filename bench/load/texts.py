"""The requests of a workload as bodies of OpenAI's API.

What prompts have in common in the virtual fleet they have in common here: their text is that of
`bench.fleet.text`. Only what a server has answered is its own: a conversation goes on with that, so that the
server finds in its cache what it has generated, as an engine of the virtual fleet does.
"""

from typing import Any, Final, Literal

import msgspec

from bench.fleet import text
from bench.fleet.traffic import Request

Api = Literal["completions", "chat"]
PATHS: Final = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}
_ROLES: Final = ("user", "assistant")


class Talk:
    """One conversation as far as it has gone."""

    def __init__(self, block_tokens: int, token_bytes: int = text.TOKEN_BYTES) -> None:
        self._block_tokens, self._token_bytes = block_tokens, token_bytes
        self._parts: list[str] = []
        """Questions and answers in turn."""
        self._before: Request | None = None

    def ask(self, request: Request, answer: str = "") -> list[str]:
        """All that has been said, from the first question to the one of this request.

        `answer` is what came of the request before; where nothing did, what the workload has made up.
        """
        whole = text.prompt(request, self._block_tokens, self._token_bytes).decode()
        asked, said = (each * self._token_bytes for each in self._planned())
        if self._before is None or said >= len(whole):
            self._parts = [whole]
        else:
            self._parts += [answer or whole[asked:said], whole[said:]]
        self._before = request
        return self._parts

    def _planned(self) -> tuple[int, int]:
        """Tokens of the prompt before this one, and of that with its answer."""
        before = self._before
        return (before.prompt_tokens, before.prompt_tokens + before.output_tokens) if before else (0, 0)


def body(api: Api, parts: list[str], model: str, max_tokens: int, extra: dict[str, Any]) -> bytes:
    """A streaming request with its usage; `extra` are further fields."""
    fields: dict[str, Any] = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": max_tokens,
        **extra,
    }
    if api == "chat":
        fields["messages"] = [
            {"role": _ROLES[place % 2], "content": part} for place, part in enumerate(parts)
        ]
    else:
        fields["prompt"] = "".join(parts)
    return msgspec.json.encode(fields)
