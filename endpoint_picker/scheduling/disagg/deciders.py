"""Deciders: whether it pays to run a stage of a request on another endpoint."""

import logging
from collections.abc import Sequence
from typing import Any

from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import Key, PrefixMatch
from endpoint_picker.core.request import Request
from endpoint_picker.observability.logs import Sparse
from endpoint_picker.plugin import Parameters, Plugin, Wiring

log = logging.getLogger(__name__)


class Always(Plugin):
    """`always-disagg-pd-decider`: prefills every request elsewhere."""

    type = "always-disagg-pd-decider"

    def decide(self, request: Request, row: int | None) -> bool:
        return True


class WithMedia(Plugin):
    """`always-disagg-multimodal-decider`: encodes elsewhere whatever media a request has.

    Images, films and sound count, in whatever protocol. They are in the body: where the data plane sends none
    before the pick, nothing is encoded elsewhere.
    """

    type = "always-disagg-multimodal-decider"

    def decide(self, request: Request, row: int | None) -> bool:
        return bool(request.payload.media)


class PrefixParameters(Parameters, frozen=True):
    """How much must be left to compute."""

    non_cached_tokens: int = 0
    """So many prompt tokens that the endpoint which decodes lacks are computed elsewhere; 0: never."""
    prompt_tokens: int = 0
    """Shorter prompts are never prefilled elsewhere; 0: any length."""
    prefix_match_info_producer_name: str = ""
    """Whose matches count; empty: those of the producer that is configured, or of
    `approx-prefix-cache-producer` where there are none or several."""

    def __post_init__(self) -> None:
        for key, value in (("nonCachedTokens", self.non_cached_tokens), ("promptTokens", self.prompt_tokens)):
            if value < 0:
                raise ValueError(f"{key} is {value}; write a number of tokens, 0 or more")


class ByPrefix(Plugin):
    """`prefix-based-pd-decider`: prefills elsewhere when the endpoint that decodes lacks much of the prompt.

    That is, if tokens - blocks held · block size ≥ nonCachedTokens. Not so where it is not known what the
    endpoint holds, or which one decodes.
    """

    type = "prefix-based-pd-decider"
    schema = PrefixParameters
    parameters: PrefixParameters

    def __init__(self, name: str, parameters: PrefixParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._prompt = attributes.tokenized_prompt()
        self._complaints = Sparse(log, clock=wiring.clock)
        if not parameters.non_cached_tokens:
            log.warning("%s: nonCachedTokens is 0, so nothing is ever prefilled elsewhere", name)

    @property
    def match(self) -> Key[PrefixMatch]:
        producer = self.parameters.prefix_match_info_producer_name
        return attributes.prefix_match(producer) if producer else attributes.prefix_match()

    def requires(self) -> Sequence[Key[Any]]:
        return (self._prompt, self.match)

    def decide(self, request: Request, row: int | None) -> bool:
        least = self.parameters.non_cached_tokens
        prompt = request.attributes.read(self._prompt)
        tokens = prompt.total if prompt else 0
        if not least or row is None or tokens < max(least, self.parameters.prompt_tokens):
            return False
        match = request.attributes.read(self.match)
        if match is None or row >= len(match.blocks):
            self._complaints.error(
                self.name, "%s: %s is missing, so request %s stays", self.name, self.match, request.id
            )
            return False
        return tokens - int(match.blocks[row]) * match.block_size >= least
