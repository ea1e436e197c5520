"""What is asked of parsers, and of their readers of responses: strangers write what they get."""

import json
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Final

import numpy as np
from hypothesis import strategies as st

from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.core.errors import BadRequest
from endpoint_picker.core.request import Payload, Usage
from endpoint_picker.testing.laws.subject import Group, Law, Subject, require

OTHER_MODEL: Final = "another/model"
WELL_FORMED: Final = json.dumps(
    {"model": "m", "prompt": "Hello", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
).encode()
DOCUMENT: Final = b'{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}'
RESPONSE: Final = b'data: {"choices":[{"index":0}]}\n\ndata: ' + DOCUMENT + b"\n\ndata: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Sent:
    """A request's path and body."""

    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """A response body, and where it was cut in pieces."""

    body: bytes
    cuts: tuple[int, ...]
    streaming: bool

    def chunks(self) -> list[bytes]:
        places = [0, *sorted(min(cut, len(self.body)) for cut in self.cuts), len(self.body)]
        return [self.body[start:end] for start, end in pairwise(places)]


def _requests(subject: Subject) -> st.SearchStrategy[Sent]:
    paths = [f"/{suffix}" for suffix in subject.make(EndpointTable()).suffixes]
    return st.builds(Sent, st.sampled_from([*paths, "/v1/whatever", "", "/"]), _bodies())


def _bodies() -> st.SearchStrategy[bytes]:
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    names = st.sampled_from(("model", "prompt", "messages", "role", "content", "input", "stream")) | st.text(
        max_size=3
    )
    value = st.recursive(
        leaf, lambda of: st.lists(of, max_size=3) | st.dictionaries(names, of, max_size=4), max_leaves=8
    )
    written = value.map(lambda each: json.dumps(each).encode())
    cut = st.integers(0, len(WELL_FORMED)).map(lambda end: WELL_FORMED[:end])
    return st.binary(max_size=60) | written | cut


def _responses(_: Subject) -> st.SearchStrategy[Response]:
    bodies = st.sampled_from((RESPONSE, DOCUMENT)) | st.binary(max_size=60) | _bodies()
    cuts = st.lists(st.integers(0, len(RESPONSE)), max_size=6).map(tuple)
    return st.builds(Response, bodies, cuts, st.booleans())


def _any_bytes(subject: Subject, sent: Sent) -> None:
    parser = subject.make(EndpointTable())
    try:
        payload = parser.parse(sent.path, sent.body)
    except BadRequest:
        return
    require(isinstance(payload, Payload), f"read {payload!r:.80} instead of a Payload")
    require(payload.model is None or isinstance(payload.model, str), f"read the model {payload.model!r}")
    for prompt in payload.prompts:
        ids = isinstance(prompt, np.ndarray) and prompt.dtype == np.uint32
        require(ids or isinstance(prompt, bytes), f"read {prompt!r:.80}: a prompt is bytes or uint32 ids")


def _suffixes(subject: Subject, _: Sent) -> None:
    suffixes = subject.make(EndpointTable()).suffixes
    fits = not isinstance(suffixes, str) and all(isinstance(each, str) for each in suffixes)
    require(fits, f"claims {suffixes!r}: not a sequence of texts")
    slashed = [each for each in suffixes if each.startswith("/")]
    require(not slashed, f"claims {slashed}: a suffix has no leading slash")


def _rewrites(subject: Subject, sent: Sent) -> None:
    """The other model name, and the same prompts."""
    parser = subject.make(EndpointTable())
    try:
        before = parser.parse(sent.path, WELL_FORMED)
    except BadRequest:
        return
    if before.model != "m":
        return
    after = parser.parse(sent.path, parser.rewrite(WELL_FORMED, OTHER_MODEL))
    require(after.model == OTHER_MODEL, f"rewrote the model to {after.model!r} instead of {OTHER_MODEL!r}")
    require(after.prompts == before.prompts, f"rewrote the prompts from {before.prompts} to {after.prompts}")


def _read(subject: Subject, chunks: list[bytes], *, streaming: bool) -> Any:
    reader = subject.make(EndpointTable()).usage(streaming=streaming)
    for chunk in chunks:
        reader.feed(chunk)
    return reader.finish()


def _usage(subject: Subject, response: Response) -> None:
    usage = _read(subject, response.chunks(), streaming=response.streaming)
    require(isinstance(usage, Usage), f"reported {usage!r:.80} instead of a Usage")
    told = {field.name: getattr(usage, field.name) for field in fields(usage)}
    wrong = {name: count for name, count in told.items() if count is not None and not isinstance(count, int)}
    require(not wrong, f"reported {wrong}: counts are whole numbers or None")


def _cut_anywhere(subject: Subject, response: Response) -> None:
    at_once = _read(subject, [response.body], streaming=response.streaming)
    in_pieces = _read(subject, response.chunks(), streaming=response.streaming)
    require(in_pieces == at_once, f"reported {in_pieces} in pieces, but {at_once} at once")


PARSER: Final = (
    Group(
        _requests,
        (Law("path suffixes", _suffixes), Law("any bytes", _any_bytes), Law("rewriting", _rewrites)),
    ),
    Group(_responses, (Law("any response", _usage), Law("chunks end anywhere", _cut_anywhere))),
)
