"""One inference request, as far as a pick needs to know it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from endpoint_picker.core import wire
from endpoint_picker.core.attributes import IN_FLIGHT_LOAD, TOKENIZED_PROMPT, Attributes, Tokens
from endpoint_picker.core.records import record

Prompt = bytes | Tokens
"""One prompt of the body: UTF-8 text, or token ids where the client sent ids."""


@dataclass(frozen=True, slots=True)
class Medium:
    """A picture, film or sound of a body."""

    modality: str
    """image, video or audio."""
    digest: bytes
    """Of what it points to or carries: equal media have equal digests."""


@record
class Payload:
    """What a parser found in a body: only the fields that are needed."""

    model: str | None = None
    """Model name; None where the API carries none (passthrough), "" where it is missing or empty."""
    stream: bool = False
    prompts: tuple[Prompt, ...] = ()
    """Each prompt of the body on its own; chat is one prompt (tools, then role and text per message)."""
    cache_salt: str = ""
    max_output_tokens: int | None = None
    media: tuple[Medium, ...] = ()
    """In the order of the body."""
    model_is_fixed: bool = False
    """The body cannot be given another model name."""


@dataclass(slots=True)
class Request:
    """A request on its way through parse, produce, schedule; owned by one stream."""

    id: str
    headers: Mapping[str, str]
    """Names in lower case; of a repeated header the last value."""
    path: str
    received_at: float
    """Seconds of the injected monotonic clock."""
    payload: Payload = field(default_factory=Payload)
    size: int = 0
    """Bytes of the body as forwarded."""
    target_model: str = ""
    """The model name that is forwarded: the client's own unless it is rewritten."""
    priority: int = 0
    objective: str = ""
    fairness_id: str = wire.DEFAULT_FAIRNESS_ID
    fields: dict[str, str] = field(default_factory=dict)
    """Header fields that plugins set on the request on its way to the endpoint, names in lower case."""
    served: str | None = None
    """`ip:port` of the endpoint that served it in the end, once the data plane has said so."""
    attributes: Attributes = field(default_factory=Attributes)

    @property
    def model(self) -> str:
        """The model name that the client asked for ("" where there is none)."""
        return self.payload.model or ""

    def let_go(self) -> None:
        """Forget what is as long as the prompt or as large as the pool: the decision is made.

        A response can last for minutes, and thousands of them do at the same time.
        """
        read = self.payload
        self.payload = Payload(read.model, read.stream, (), read.cache_salt, read.max_output_tokens)
        self.attributes.drop(TOKENIZED_PROMPT, IN_FLIGHT_LOAD)


@record
class Usage:
    """Token counts that the model server reported; None where it said nothing."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
