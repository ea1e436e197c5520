"""Tokens of a prompt, estimated: what counts for routing is how much two prompts have in common.

A real tokenizer costs milliseconds for a long prompt. Four bytes of text make about one token of English,
and equal text makes equal numbers, which is all that prefix matching and load accounting need.
"""

import logging
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np

from endpoint_picker.config.units import Duration
from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import Key, TokenizedPrompt, Tokens
from endpoint_picker.core.endpoints import Candidates
from endpoint_picker.core.request import Prompt, Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring

log = logging.getLogger(__name__)

TOKEN_BYTES: Final = 4
"""Bytes of text that make one estimated token."""

Mode = Literal["dynamic", "static"]


class Resolution(Parameters, frozen=True):
    width: int = 640
    height: int = 360


class Factor(Parameters, frozen=True):
    """Tokens by the number of pixels: width · height / factor."""

    factor: int = 1024


class StaticImage(Parameters, frozen=True):
    static_token: int = 0


class Image(Parameters, frozen=True):
    mode: Mode = "dynamic"
    default_resolution: Resolution = Resolution()
    dynamic: Factor = Factor()
    static: StaticImage = StaticImage()


class StaticFrame(Parameters, frozen=True):
    num_tokens_per_frame: int = 0


class Frame(Parameters, frozen=True):
    mode: Mode = "dynamic"
    dynamic: Factor = Factor()
    static: StaticFrame = StaticFrame()


class Sampled(Parameters, frozen=True):
    sample_fps: float = msgspec.field(default=2.0, name="sampleFPS")
    temporal_patch_size: int = 0


class Strided(Parameters, frozen=True):
    default_source_fps: float = msgspec.field(default=24.0, name="defaultSourceFPS")
    frame_stride: int = 1


class Frames(Parameters, frozen=True):
    mode: Literal["sampled", "strided"] = "sampled"
    min_frames: int = 0
    max_frames: int = 0
    sampled: Sampled = Sampled()
    strided: Strided = Strided()


class Video(Parameters, frozen=True):
    default_resolution: Resolution = Resolution()
    default_duration: float = 10.0
    tokens_per_frame: Frame = Frame()
    frames: Frames = Frames()
    max_video_tokens: int = 0


class Estimate(Parameters, frozen=True):
    """How many tokens a picture or a film counts; payloads carry text only, so nothing reads it yet."""

    image: Image = Image()
    video: Video = Video()


class Render(Parameters, frozen=True):
    """A server that turns bodies into token ids."""

    url: str = "http://localhost:8000"
    timeout: Duration = Duration(5.0)
    mm_timeout: Duration = Duration(30.0)


class Socket(Parameters, frozen=True):
    """A tokenizer behind a socket file."""

    socket_file: str = ""


class TokenParameters(Parameters, frozen=True):
    model_name: str = ""
    estimate: Estimate | None = None
    vllm: Render | None = None
    """Read, but not used in this version: tokens are estimated."""
    uds_tokenizer_config: Socket | None = None
    """Read, but not used in this version: tokens are estimated."""

    def __post_init__(self) -> None:
        named = [key for key, value in self._back_ends.items() if value is not None]
        if len(named) > 1:
            raise ValueError(f"{', '.join(named)}: these back ends exclude each other; keep one")
        if self.vllm is not None and not self.model_name:
            raise ValueError("modelName is empty; the back end vllm needs to know the model")

    @property
    def unused(self) -> str:
        """The back end that is named and not in this version; empty: none."""
        return next((key for key, value in self._back_ends.items() if value and key != "estimate"), "")

    @property
    def _back_ends(self) -> dict[str, object]:
        return {
            "estimate": self.estimate,
            "vllm": self.vllm,
            "udsTokenizerConfig": self.uds_tokenizer_config,
        }


class TokenEstimate(Plugin):
    """Prompts as token ids: four bytes of text each, ids where the client sent ids (`token-producer`)."""

    type = "token-producer"
    schema = TokenParameters

    def __init__(self, name: str, parameters: TokenParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._prompt = attributes.tokenized_prompt(name)
        if parameters.unused:
            log.warning(
                "%s: the back end %s is not in this version: tokens are estimated from the text, which is "
                "enough for the length of a prompt and for what two prompts share",
                name,
                parameters.unused,
            )

    def produces(self) -> Sequence[Key[Any]]:
        return (self._prompt,)

    def produce(self, request: Request, candidates: Candidates) -> None:
        prompts = tuple(map(tokens_of, request.payload.prompts))
        request.attributes.write(self._prompt, TokenizedPrompt(prompts, sum(map(len, prompts))))


def tokens_of(prompt: Prompt) -> Tokens:
    """Token ids as they are; text as little-endian words of four bytes, the last one padded with zeros."""
    if isinstance(prompt, bytes):
        return np.frombuffer(prompt + bytes(-len(prompt) % TOKEN_BYTES), "<u4")
    return prompt
