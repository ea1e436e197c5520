"""The Anthropic dialect: messages, and counting their tokens.

Agents speak it, so tool calls and their results are most of a prompt. Blocks are read by field instead of
taken as spelled: between two turns clients move markers such as `cache_control` from block to block, and
a moved marker must not make the beginning of the prompt another one.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Final, Union

import msgspec

from endpoint_picker.core.errors import BadRequest
from endpoint_picker.core.request import Payload
from endpoint_picker.parsing import usage
from endpoint_picker.parsing.bodies import ABSENT, Body, Complaints, count, parse
from endpoint_picker.parsing.media import digest
from endpoint_picker.parsing.paths import trimmed
from endpoint_picker.parsing.prompts import expect, given
from endpoint_picker.parsing.rewrite import replace_model
from endpoint_picker.plugin import Plugin, UsageReader

_COMPLAINTS: Final = Complaints(
    malformed="error unmarshaling request body: {reason}",
    mismatched="error parsing messages request: {reason}",
    missing="invalid messages request: must have at least one message",
)


class Block(msgspec.Struct):
    """One block: text, thinking, a medium, a tool call, or the result of one (which holds blocks again)."""

    type: msgspec.Raw = ABSENT
    text: str | None = None
    thinking: str | None = None
    source: msgspec.Raw = ABSENT
    name: str | None = None
    input: msgspec.Raw = ABSENT
    content: "Content" = None

    def prompt(self) -> Iterator[bytes]:
        """The bytes that stand for this block."""
        for text in (self.text, self.thinking, self.name):
            if text:
                yield text.encode()
        if given(self.source):
            # A document has a source too, but no encoder looks at it.
            modality = "image" if bytes(self.type) == b'"image"' else ""
            yield digest("source", self.source, modality=modality)
        yield given(self.input)
        yield from content_prompt(self.content)


Content = Union[str, list[Block], None]  # noqa: UP007 - a name that stands for itself cannot be joined by |


class Message(msgspec.Struct):
    """One message."""

    role: str | None = None
    content: Content = None

    def prompt(self) -> Iterator[bytes]:
        """The bytes that stand for this message."""
        if self.role:
            yield self.role.encode()
        yield from content_prompt(self.content)


class Messages(Body):
    """Body of messages; the prompt has the order of the model's own: tools, system, messages."""

    messages: list[Message] | None = None
    system: Content = None
    tools: msgspec.Raw = ABSENT
    max_tokens: msgspec.Raw = ABSENT

    def __post_init__(self) -> None:
        expect(self.tools, b"[")

    def pieces(self) -> list[bytes] | None:
        if not self.messages:
            return None
        pieces = [given(self.tools), *content_prompt(self.system)]
        for message in self.messages:
            pieces += message.prompt()
        return pieces

    def cap(self) -> int | None:
        return count(self.max_tokens)


_MESSAGES: Final = msgspec.json.Decoder(Messages)


def content_prompt(content: Content) -> Iterator[bytes]:
    """The bytes that stand for a text or a list of blocks."""
    if isinstance(content, str):
        yield content.encode()
    elif content:
        for block in content:
            yield from block.prompt()


class Anthropic(Plugin):
    """`anthropic-parser`: bodies and usage as Anthropic's HTTP API has them."""

    type = "anthropic-parser"
    suffixes: ClassVar[Sequence[str]] = ("messages", "messages/count_tokens")

    def parse(self, path: str, body: bytes) -> Payload:
        """A body to be counted is not read. Raises BadRequest when there is no message in the other."""
        path = trimmed(path)
        if path.endswith("/messages/count_tokens"):
            return Payload(model=None)
        if not path.endswith("/messages"):
            raise BadRequest(f"unsupported API endpoint: {path}")
        return parse(_MESSAGES, body, _COMPLAINTS)

    def rewrite(self, body: bytes, model: str) -> bytes:
        """The same body for another model."""
        return replace_model(body, model)

    def usage(self, *, streaming: bool) -> UsageReader:
        """Merges what the beginning and the end of a stream report."""
        return usage.reader(usage.anthropic, streaming=streaming)
