"""The OpenAI dialect: chat, completions, responses, conversations, embeddings, images.

Which API a body belongs to is told by the end of the path alone. Each API is a struct with the fields
that are read, and a sentence for the client whose body does not fit.
"""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final

import msgspec

from endpoint_picker.core.request import Payload, Prompt
from endpoint_picker.parsing import usage
from endpoint_picker.parsing.bodies import ABSENT, Body, Complaints, count, parse
from endpoint_picker.parsing.items import Item, loose
from endpoint_picker.parsing.media import digest
from endpoint_picker.parsing.paths import trimmed
from endpoint_picker.parsing.prompts import Media, TextOrIds, expect, given, one_or_more, said
from endpoint_picker.parsing.rewrite import replace_model
from endpoint_picker.plugin import Plugin, UsageReader


class Part(msgspec.Struct):
    """One part of a message: text, or a medium under the key of its kind."""

    text: str | None = None
    image_url: Media | None = None
    input_audio: Media | None = None
    video_url: Media | None = None
    audio_url: Media | None = None

    def prompt(self) -> Iterator[bytes]:
        """The bytes that stand for this part."""
        if self.text:
            yield self.text.encode()
        for kind in ("image_url", "input_audio", "video_url", "audio_url"):
            medium: Media | None = getattr(self, kind)
            if medium is not None:
                yield digest(kind, medium.url, medium.data, medium.format)


class Message(msgspec.Struct):
    """One message of a chat."""

    role: str | None = None
    content: str | list[Part] | None = None
    tool_calls: msgspec.Raw = ABSENT

    def __post_init__(self) -> None:
        expect(self.tool_calls, b"[")

    def prompt(self) -> list[bytes]:
        """The bytes that stand for this message."""
        return [*said(self.role, self.content), given(self.tool_calls)]


class Chat(Body):
    """Body of chat/completions; what is not read is named for its type alone."""

    messages: list[Message] | None = None
    tools: msgspec.Raw = ABSENT
    documents: msgspec.Raw = ABSENT
    chat_template: str | None = None
    chat_template_kwargs: msgspec.Raw = ABSENT
    return_assistant_tokens_mask: bool | None = None
    continue_final_message: bool | None = None
    add_generation_prompt: bool | None = None
    max_completion_tokens: msgspec.Raw = ABSENT
    max_tokens: msgspec.Raw = ABSENT

    def __post_init__(self) -> None:
        expect(self.tools, b"[")
        expect(self.documents, b"[")
        expect(self.chat_template_kwargs, b"{")

    def pieces(self) -> list[bytes] | None:
        if not self.messages:
            return None
        pieces = [given(self.tools)]
        for message in self.messages:
            pieces += message.prompt()
        return pieces

    def cap(self) -> int | None:
        return count(self.max_completion_tokens, self.max_tokens)


class Completion(Body):
    """Body of completions."""

    prompt: TextOrIds = None
    max_tokens: msgspec.Raw = ABSENT

    def found(self) -> tuple[Prompt, ...]:
        return one_or_more(self.prompt)

    def cap(self) -> int | None:
        return count(self.max_tokens)


class Embedding(Body):
    """Body of embeddings."""

    input: TextOrIds = None

    def found(self) -> tuple[Prompt, ...]:
        return one_or_more(self.input)


class Response(Body):
    """Body of responses; anything but null may be its input."""

    input: msgspec.Raw = ABSENT
    instructions: msgspec.Raw = ABSENT
    tools: msgspec.Raw = ABSENT
    max_output_tokens: msgspec.Raw = ABSENT

    def pieces(self) -> list[bytes] | None:
        if not given(self.input):
            return None
        return [given(self.tools), *loose(self.instructions), *loose(self.input)]

    def cap(self) -> int | None:
        return count(self.max_output_tokens)


class Conversation(Body):
    """Body of conversations."""

    items: list[Item] | None = None
    metadata: msgspec.Raw = ABSENT

    def __post_init__(self) -> None:
        expect(self.metadata, b"{")

    def pieces(self) -> list[bytes] | None:
        if not self.items:
            return None
        return [piece for item in self.items for piece in item.prompt()]


class Image(Body):
    """Body of images/generations."""

    prompt: str | None = None
    n: int | None = None
    size: str | None = None
    num_inference_steps: int | None = None

    def found(self) -> tuple[Prompt, ...]:
        return (self.prompt.encode(),) if self.prompt else ()


class Api:
    """One API: the body that it takes, and what a client is told whose body is another."""

    def __init__(self, body: type[Body], name: str, required: str) -> None:
        self.decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(body)
        wrong = f"invalid {name} request: must have {required} field"
        self.complaints = Complaints("error unmarshaling request bodyMap: {reason}", wrong, wrong)


_CHAT: Final = Api(Chat, "chat completions", "valid messages")
_COMPLETIONS: Final = Api(Completion, "completions", "prompt")
_APIS: Final = {
    "/conversations": Api(Conversation, "conversations", "items"),
    "/responses": Api(Response, "responses", "input"),
    "/chat/completions": _CHAT,
    "/chat/completions/render": _CHAT,
    "/completions": _COMPLETIONS,
    "/completions/render": _COMPLETIONS,
    "/embeddings": Api(Embedding, "embeddings", "input"),
    "/images/generations": Api(Image, "images generations", "prompt"),
}
"""End of the path → API, in the order in which they are tried."""


class OpenAI(Plugin):
    """`openai-parser`: bodies and usage as OpenAI's HTTP API has them."""

    type = "openai-parser"
    suffixes: ClassVar[Sequence[str]] = tuple(suffix.removeprefix("/") for suffix in _APIS)

    def parse(self, path: str, body: bytes) -> Payload:
        """Raises BadRequest when the body lacks what its API requires."""
        path = trimmed(path)
        api = next((api for suffix, api in _APIS.items() if path.endswith(suffix)), _COMPLETIONS)
        return parse(api.decoder, body, api.complaints)

    def rewrite(self, body: bytes, model: str) -> bytes:
        """The same body for another model."""
        return replace_model(body, model)

    def usage(self, *, streaming: bool) -> UsageReader:
        """Reads `usage`, also that inside `response` at the end of a stream of responses."""
        return usage.reader(usage.openai, streaming=streaming)
