"""From a checked body to a job: prompts as tokens, how much is generated for each, and the sequences for it.

What will be generated is known from the start, since the text is filler of a seed. That gives the engine the
block hashes of the answer, so a next turn that repeats it finds it in the cache.
"""

import asyncio
import math
import random
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.simulator import blocks, nixl, tokenizer
from bench.simulator.blocks import Tokens
from bench.simulator.config import ReplicaConfig
from bench.simulator.requests import Prompt, Sampling, bad_request
from bench.simulator.sequence import Sequence
from bench.simulator.tickets import Ticket


@dataclass(slots=True)
class Choice:
    """One answer to one prompt."""

    prompt: Tokens
    output: Tokens
    reason: str
    ticket: Ticket
    text: str = ""
    cached_elsewhere: int | None = None
    """Of a fetched prompt: what the prefill replica said that it had in its cache."""

    @property
    def cached(self) -> int:
        """Prompt tokens found in a cache; known once the first token is there.

        Of a fetched prompt that is what its computation was spared elsewhere, not what was fetched.
        """
        if self.cached_elsewhere is not None:
            return self.cached_elsewhere
        return self.not_computed

    @property
    def not_computed(self) -> int:
        """Prompt tokens that were found or fetched."""
        sequence = self.ticket.sequence
        return sequence.cached + sequence.external


@dataclass(slots=True)
class Job:
    """One request on its way, whatever dialect it came in."""

    id: str
    model: str
    """As the client named it: the base model or an adapter."""
    choices: list[Choice]
    changed: asyncio.Event
    block_size: int
    n: int = 1
    usage: bool = False
    """Whether a stream ends with its usage."""
    continuous: bool = False
    """Whether each chunk of a stream tells the usage so far."""
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def prompt_tokens(self) -> int:
        """Each prompt once, however many answers it gets."""
        return sum(len(choice.prompt) for choice in self.choices[:: self.n])

    @property
    def cached_tokens(self) -> int:
        return sum(choice.cached for choice in self.choices[:: self.n])

    @property
    def new_tokens(self) -> int:
        """Tokens in full blocks that this engine computed."""
        size = self.block_size
        return sum(
            max(0, len(choice.prompt) // size * size - choice.not_computed)
            for choice in self.choices[:: self.n]
        )

    @property
    def failure(self) -> str:
        """Why there is no answer; empty when nothing failed."""
        return next((choice.ticket.failure for choice in self.choices if choice.ticket.failure), "")

    @property
    def handover(self) -> dict[str, Any] | None:
        """Where the blocks of the first prompt are kept, for all that asked; known at the end."""
        return self.choices[0].ticket.handover

    @property
    def output_tokens(self) -> int:
        """Tokens that all answers will have at their end."""
        return sum(len(choice.output) for choice in self.choices)


def prompts_of(prompt: Prompt) -> list[Tokens]:
    """The prompts in a body: a string, several, token ids, or several lists of those."""
    if isinstance(prompt, str):
        prompt = [prompt]
    elif prompt and all(isinstance(item, int) for item in prompt):
        return [np.array(prompt, dtype=np.uint32)]
    elif any(isinstance(item, int) for item in prompt):
        raise bad_request("`prompt` mixes token ids with texts or lists; send one kind.", "prompt")
    return [
        tokenizer.encode(item) if isinstance(item, str) else np.array(item, dtype=np.uint32)
        for item in prompt
    ]


@dataclass(frozen=True, slots=True)
class Planner:
    """Makes jobs for one replica."""

    config: ReplicaConfig

    def plan(
        self,
        prompts: list[Tokens],
        sampling: Sampling,
        *,
        id: str,
        model: str,
        default: int | None,
        numbered: bool = False,
    ) -> Job:
        """A job that is not yet submitted; `default` limits answers when the body does not.

        `numbered`: whether the engine's own names for the prompts have their number in them.
        """
        sampling.check()
        if not prompts:
            raise bad_request("There is no prompt; send at least one.", "prompt")
        count, changed = sampling.n or 1, asyncio.Event()
        options = sampling.stream_options
        choices = [
            self._choice(prompt, sampling, index, changed, model, default)
            for prompt in prompts
            for index in range(count)
        ]
        for number, choice in enumerate(choices):
            middle = f"-{number // count}" if numbered else ""
            choice.ticket.name = f"{id}{middle}-{uuid.uuid4().hex[:8]}"
        return Job(
            id=id,
            model=model,
            choices=choices,
            changed=changed,
            block_size=self.config.engine.block_size,
            n=count,
            usage=bool(options and options.include_usage),
            continuous=bool(options and options.include_usage and options.continuous_usage_stats),
        )

    def _choice(
        self,
        prompt: Tokens,
        sampling: Sampling,
        index: int,
        changed: asyncio.Event,
        model: str,
        default: int | None,
    ) -> Choice:
        seed = tokenizer.fingerprint(
            prompt, hash((self.config.seed, sampling.seed or 0, index)) & 0xFFFF_FFFF
        )
        length, reason = self._length(len(prompt), sampling, seed, default)
        output = tokenizer.filler(length, seed)
        adapter = "" if model == self.config.model else model
        root = blocks.seed_of(adapter, sampling.cache_salt or "")
        hashes = blocks.chain(np.concatenate((prompt, output)), self.config.engine.block_size, root)
        # An engine without a connector does not look at the parameters.
        params = sampling.kv_transfer_params if self.config.transfer else None
        ticket = Ticket(
            sequence=Sequence(len(prompt), length, hashes, adapter, keep=nixl.wants_keeping(params)),
            changed=changed,
            reason=reason,
            choices=sampling.n or 1,
            limit=sampling.max_tokens or default or self.config.max_model_len - len(prompt),
            watched=bool(sampling.stream),
            source=nixl.source_of(params),
        )
        elsewhere = nixl.cached_elsewhere(params, len(prompt)) if ticket.source else None
        return Choice(prompt, output, reason, ticket, tokenizer.decode(output), elsewhere)

    def _length(self, prompt: int, sampling: Sampling, seed: int, default: int | None) -> tuple[int, str]:
        """How many tokens are generated, and why they end there."""
        room = self._room(prompt, sampling.max_tokens or 0)
        if sampling.max_tokens:
            return sampling.max_tokens, "length"
        if default or sampling.ignore_eos:
            return min(default or room, room), "length"
        drawn = math.ceil(random.Random(seed).expovariate(1.0 / self.config.mean_output_tokens))
        drawn = max(drawn, sampling.min_tokens or 0, 1)
        return (drawn, "stop") if drawn <= room else (room, "length")

    def _room(self, prompt: int, requested: int) -> int:
        """Tokens that fit after the prompt; Refused when the request is too long for the model."""
        limit = self.config.max_model_len
        if prompt == 0:
            raise bad_request("The prompt is empty; send at least one token.", "prompt")
        if prompt >= limit or prompt + requested > limit:
            raise bad_request(
                f"The context of this model holds {limit} tokens; the prompt has {prompt} and {requested} "
                f"are asked for. Send or ask for less (parameter=input_tokens, value={prompt}).",
                "input_tokens",
            )
        return limit - prompt
