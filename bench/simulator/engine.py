"""One replica in virtual time, because routing can only be compared on a fleet that slows down as vLLM does.

The model is the scheduler of vLLM V1: in each step every decoding sequence computes one token, and what is
left of the token budget goes to prompts in the order of their arrival, in chunks. Blocks of the KV cache are
taken as tokens are computed; when none is left, the youngest running sequence loses its own and starts over.
A step takes `fixed + a * prompt tokens + b * decoding sequences + c * cached tokens read` seconds.

A prompt that another engine has computed takes its blocks and waits beside the batch until a caller says
that their contents are there; then a single token is left to compute.
"""

import random
from collections import OrderedDict
from dataclasses import dataclass
from itertools import chain

from bench.simulator import holdings
from bench.simulator.batch import Batch
from bench.simulator.blocks import BlockCache
from bench.simulator.config import EngineConfig
from bench.simulator.sequence import Phase, Sequence
from bench.simulator.transfers import Transfers


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What one step did; its tokens exist when `duration` seconds have passed."""

    duration: float
    prompt_tokens: int
    """Prompt tokens computed, those of restarted sequences included."""
    started: list[Sequence]
    """Prompts computed to their end: each has one new token."""
    decoded: list[Sequence]
    """Sequences that have one more token, apart from `started`."""
    finished: list[Sequence]
    """Those of the above that got their last token."""
    preempted: list[Sequence]
    fetching: list[Sequence]
    """Prompts to be fetched from now on; the caller answers with `fetched` or `fetch_failed`."""


class Engine:
    """Continuous batching over one block cache. It has no clock: callers say when a step begins."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.cache = BlockCache(config.num_blocks)
        self.transfers = Transfers(self.cache, config.block_size)
        self.prefix_queries = 0
        self.prefix_hits = 0
        """Both in tokens, counted when a sequence is admitted for the first time."""
        self.preemptions = 0
        self._batch = Batch(config, self.cache)
        self._waiting: OrderedDict[Sequence, None] = OrderedDict()
        self._blocked = False
        self._stalled: tuple[Sequence, int] | None = None
        self._rng = random.Random(config.seed)

    @property
    def running(self) -> int:
        """Sequences in the batch."""
        return len(self._batch.running)

    @property
    def waiting(self) -> int:
        """Sequences that wait for their turn, preempted ones included, or for KV entries."""
        return len(self._waiting) + len(self.transfers.fetched) + len(self.transfers.fetching)

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        if self._blocked:
            return False
        return bool(self._batch.running or self._waiting or self.transfers.fetched)

    def adapters(self) -> tuple[list[str], list[str]]:
        """LoRA adapters of running and of waiting sequences, each sorted, without the base model."""
        running = {sequence.adapter for sequence in self._batch.running} - {""}
        queues = chain(self._waiting, self.transfers.fetched, self.transfers.fetching)
        waiting = {sequence.adapter for sequence in queues} - {""}
        return sorted(running), sorted(waiting)

    def emitted(self, sequence: Sequence) -> int:
        """Tokens generated so far."""
        return self._batch.emitted(sequence)

    def submit(self, sequence: Sequence, now: float) -> None:
        """Queue a sequence; ValueError when it is empty or could never fit."""
        if sequence.prompt_tokens < 1 or sequence.output_tokens < 1:
            raise ValueError(
                f"a sequence of {sequence.prompt_tokens} prompt and {sequence.output_tokens} output tokens; "
                "both must be 1 or more"
            )
        needed = -(-sequence.total // self.config.block_size)
        if needed > self.config.num_blocks:
            raise ValueError(
                f"a sequence of {sequence.total} tokens needs {needed} blocks, the cache has "
                f"{self.config.num_blocks}; shorten it or raise num_blocks"
            )
        sequence.arrived = now
        sequence.target = sequence.prompt_tokens
        self._waiting[sequence] = None
        self._blocked = False

    def abort(self, sequence: Sequence) -> bool:
        """Drop a sequence and free its blocks; False when it had ended already."""
        if sequence.phase >= Phase.FINISHED:
            return False
        if sequence.phase is Phase.WAITING:
            self._waiting.pop(sequence, None)
        elif sequence.phase in (Phase.FETCHING, Phase.FETCHED):
            self.transfers.drop(sequence)
        else:
            self._batch.drop(sequence)
        sequence.phase = Phase.ABORTED
        self._blocked = False
        return True

    def fetched(self, sequence: Sequence) -> bool:
        """Its KV entries are there; False when it had ended in the meantime."""
        self._blocked = False
        return self.transfers.complete(sequence)

    def fetch_failed(self, sequence: Sequence, *, recompute: bool) -> bool:
        """They do not come: compute the prompt here, or fail; False when it had ended in the meantime."""
        if sequence.phase is not Phase.FETCHING:
            return False
        self.transfers.drop(sequence)
        self._blocked = False
        sequence.external = 0
        sequence.phase = Phase.WAITING if recompute else Phase.FAILED
        if recompute:
            self._requeue([sequence])
        return True

    def release(self, sequence: Sequence) -> bool:
        """Let go of the blocks kept for another engine; False when that was done already."""
        self._blocked = False
        return self.transfers.release(sequence)

    def step(self, now: float) -> StepOutcome:
        """Schedule and compute one step that begins at `now`; afterwards the state is that of its end."""
        batch = self._batch
        preempted: list[Sequence] = []
        ending = batch.serve_due(now, preempted)
        budget = self.config.max_num_batched_tokens - batch.decoding
        ready: list[Sequence] = []
        fetching: list[Sequence] = []
        prompt_tokens, reads = batch.continue_prefills(now, budget, ready, preempted)
        if preempted:
            self.preemptions += len(preempted)
            self._requeue(preempted)
        elif self._waiting or self.transfers.fetched:
            admitted = self._admit(now, budget - prompt_tokens, ready, fetching)
            prompt_tokens, reads = prompt_tokens + admitted[0], reads + admitted[1]
        duration = self._duration(prompt_tokens, batch.decoding, batch.context + reads)
        decoded, finished = batch.advance(ending, ready, now + duration)
        for sequence in finished:
            if sequence.keep:
                self.transfers.keep(sequence)
            else:
                holdings.vacate(self.cache, sequence)
        # Blocks kept or awaiting contents can leave no room for the queue: nothing to do until one goes.
        self._blocked = not (prompt_tokens or decoded or preempted or fetching)
        return StepOutcome(duration, prompt_tokens, ready, decoded, finished, preempted, fetching)

    def uneventful(self) -> int:
        """Steps from now on in which all that happens is one more token for everybody.

        A driver may leave them out: `stride` is what they come to, and `stride_seconds` how long they take.
        """
        if self.transfers.fetched or self.config.jitter or (self._waiting and not self._full()):
            return 0
        return self._batch.uneventful()

    def stride(self, steps: int) -> None:
        """Be where so many uneventful steps lead."""
        self._batch.stride(steps)

    def stride_seconds(self, steps: int) -> float:
        """What so many uneventful steps take together, from now on."""
        batch = self._batch
        first = self._duration(0, batch.decoding, batch.context)
        longer = self.config.cached_token_s * batch.decoding  # each step reads one more token of everybody
        return steps * first + longer * (steps * (steps - 1) // 2)

    @property
    def decoding(self) -> int:
        """Sequences that gain a token in each step."""
        return self._batch.decoding

    def _full(self) -> bool:
        """Whether those who wait have to until somebody ends."""
        if len(self._batch.running) == self.config.max_num_seqs:
            return True
        head = next(iter(self._waiting))
        if self._stalled is None or self._stalled[0] is not head or self.cache.free > self._stalled[1]:
            return False
        active = {each.adapter for each in self._batch.running} if head.adapter else set[str]()
        return self._adapter_fits(head.adapter, active)

    def _duration(self, prompt_tokens: int, decoding: int, reads: int) -> float:
        """Seconds of a step; nothing to do takes no time."""
        config = self.config
        if not prompt_tokens and not decoding:
            return 0.0
        seconds = (
            config.fixed_s
            + config.prefill_token_s * prompt_tokens
            + config.decode_sequence_s * decoding
            + config.cached_token_s * reads
        )
        if config.jitter:
            seconds *= 1.0 + config.jitter * self._rng.uniform(-1.0, 1.0)
        return seconds

    def _admit(
        self, now: float, budget: int, ready: list[Sequence], fetching: list[Sequence]
    ) -> tuple[int, int]:
        """Take sequences into the batch, fetched ones first; returns (tokens computed, cached read)."""
        tokens = reads = 0
        active = {each.adapter for each in self._batch.running} if self.config.max_loras else set()
        admitted = []
        for sequence in chain(self.transfers.fetched, self._waiting):
            if tokens == budget or len(self._batch.running) == self.config.max_num_seqs:
                break
            if not self._adapter_fits(sequence.adapter, active):
                continue
            if sequence.phase is Phase.WAITING and not self._place(sequence):
                break
            admitted.append(sequence)
            if sequence.fetch:
                self.transfers.begin(sequence)
                fetching.append(sequence)
                continue
            active.add(sequence.adapter)
            if sequence.scheduled < 0:
                sequence.scheduled = now
            computed, read = self._batch.begin(sequence, budget - tokens, ready)
            tokens, reads = tokens + computed, reads + read
        for sequence in admitted:
            queue = self.transfers.fetched if sequence in self.transfers.fetched else self._waiting
            del queue[sequence]
        return tokens, reads

    def _adapter_fits(self, adapter: str, active: set[str]) -> bool:
        """Whether the batch has a slot for this adapter; the base model needs none."""
        limit = self.config.max_loras
        return not adapter or not limit or adapter in active or len(active - {""}) < limit

    def _place(self, sequence: Sequence) -> bool:
        """Give a sequence its cached blocks, if its whole prompt fits now."""
        cache, size = self.cache, self.config.block_size
        if self._stalled and self._stalled[0] is sequence and cache.free <= self._stalled[1]:
            return False
        shared = holdings.found(cache, sequence, size)
        if shared is None:
            self._stalled = (sequence, cache.free)
            return False
        holdings.take(cache, sequence, shared, size)
        if not sequence.looked_up:
            self._note_lookup(sequence)
        return True

    def _note_lookup(self, sequence: Sequence) -> None:
        """Count cache queries and hits once for each sequence, not again after a preemption."""
        sequence.looked_up = True
        sequence.cached = sequence.computed
        self.prefix_queries += sequence.prompt_tokens
        self.prefix_hits += sequence.computed
        missing = sequence.prompt_tokens - sequence.computed
        self.transfers.queries += missing
        if sequence.fetch:
            sequence.external = missing
            self.transfers.hits += missing

    def _requeue(self, sequences: list[Sequence]) -> None:
        """Back to the head of the queue; everything, generated tokens too, is computed again later."""
        for sequence in sequences:
            self._waiting[sequence] = None
            self._waiting.move_to_end(sequence, last=False)
