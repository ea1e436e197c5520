"""One replica in virtual time, because routing can only be compared on a fleet that slows down as vLLM does.

The model is the scheduler of vLLM V1: in each step every decoding sequence computes one token, and what is
left of the token budget goes to prompts in the order of their arrival, in chunks. Blocks of the KV cache are
taken as tokens are computed; when none is left, the youngest running sequence loses its own and starts over.
A step takes `fixed + a * prompt tokens + b * decoding sequences + c * cached tokens read` seconds.

A step costs time for what changes (a prompt, a new block, an end), not for each member of the batch: decoding
sequences sit in a wheel under the step at which they need something next.
"""

import random
from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice

from bench.simulator.blocks import BlockCache
from bench.simulator.config import EngineConfig
from bench.simulator.sequence import Phase, Sequence


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


class Engine:
    """Continuous batching over one block cache. It has no clock: callers say when a step begins."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.cache = BlockCache(config.num_blocks)
        self.prefix_queries = 0
        self.prefix_hits = 0
        """Both in tokens, counted when a sequence is admitted for the first time."""
        self.preemptions = 0
        self._waiting: OrderedDict[Sequence, None] = OrderedDict()
        self._running: dict[Sequence, None] = {}
        self._prefilling: dict[Sequence, None] = {}
        self._decoding: dict[Sequence, None] = {}
        self._wheel: dict[int, list[Sequence]] = {}
        self._tick = 0
        self._context = 0
        self._stalled: tuple[Sequence, int] | None = None
        self._rng = random.Random(config.seed)

    @property
    def running(self) -> int:
        """Sequences in the batch."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Sequences in the queue, preempted ones included."""
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._running or self._waiting)

    def adapters(self) -> tuple[list[str], list[str]]:
        """LoRA adapters of running and of waiting sequences, each sorted, without the base model."""
        running = {sequence.adapter for sequence in self._running} - {""}
        waiting = {sequence.adapter for sequence in self._waiting} - {""}
        return sorted(running), sorted(waiting)

    def emitted(self, sequence: Sequence) -> int:
        """Tokens generated so far."""
        if sequence.phase is Phase.DECODE:
            return sequence.offset + self._tick - sequence.prompt_tokens + 1
        if sequence.phase is Phase.FINISHED:
            return sequence.output_tokens
        return max(0, sequence.target - sequence.prompt_tokens)

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

    def abort(self, sequence: Sequence) -> bool:
        """Drop a sequence and free its blocks; False when it had ended already."""
        if sequence.phase >= Phase.FINISHED:
            return False
        if sequence.phase is Phase.WAITING:
            self._waiting.pop(sequence, None)
        else:
            self._leave(sequence)
        sequence.phase = Phase.ABORTED
        return True

    def step(self, now: float) -> StepOutcome:
        """Schedule and compute one step that begins at `now`; afterwards the state is that of its end."""
        preempted: list[Sequence] = []
        ending = self._serve_due(now, preempted)
        budget = self.config.max_num_batched_tokens - len(self._decoding)
        ready: list[Sequence] = []
        prompt_tokens, reads = self._continue_prefills(now, budget, ready, preempted)
        if self._waiting and not preempted:
            admitted = self._admit(now, budget - prompt_tokens, ready)
            prompt_tokens, reads = prompt_tokens + admitted[0], reads + admitted[1]
        decoded = list(self._decoding)
        duration = self._duration(prompt_tokens, len(decoded), self._context + reads)
        self._context += len(decoded)
        self._tick += 1
        finished = [sequence for sequence in ending if sequence.phase is Phase.DECODE]
        for sequence in finished:
            self._finish(sequence)
        for sequence in ready:
            self._join(sequence, now + duration, finished)
        return StepOutcome(duration, prompt_tokens, ready, decoded, finished, preempted)

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

    def _serve_due(self, now: float, preempted: list[Sequence]) -> list[Sequence]:
        """Give blocks to decoding sequences that need one now; returns those that make their last token."""
        tick, size = self._tick, self.config.block_size
        ending = []
        for sequence in self._wheel.pop(tick, ()):
            if sequence.due != tick or sequence.phase is not Phase.DECODE:
                continue
            if sequence.offset + tick == sequence.blocks * size:
                self._publish(sequence, sequence.blocks)
                if not self._make_room(sequence, 1, now, preempted):
                    continue
            if sequence.offset + tick == sequence.total - 2:
                sequence.due = -1
                ending.append(sequence)
            else:
                self._watch(sequence)
        return ending

    def _continue_prefills(
        self, now: float, budget: int, ready: list[Sequence], preempted: list[Sequence]
    ) -> tuple[int, int]:
        """Go on with prompts begun earlier; returns (tokens computed, cached tokens read)."""
        tokens = reads = 0
        for sequence in list(self._prefilling):
            # Room made for one prompt may have cost a younger one its place in the batch.
            if sequence.phase is not Phase.PREFILL or tokens == budget:
                continue
            upto = min(sequence.target, sequence.computed + budget - tokens)
            missing = -(-upto // self.config.block_size) - sequence.blocks
            if self._make_room(sequence, missing, now, preempted):
                tokens += upto - sequence.computed
                reads += self._compute(sequence, upto, ready)
        return tokens, reads

    def _admit(self, now: float, budget: int, ready: list[Sequence]) -> tuple[int, int]:
        """Take from the queue while tokens, places and blocks last; returns as `_continue_prefills`."""
        tokens = reads = 0
        active = {sequence.adapter for sequence in self._running} if self.config.max_loras else set()
        admitted = []
        for sequence in self._waiting:
            if tokens == budget or len(self._running) == self.config.max_num_seqs:
                break
            if not self._adapter_fits(sequence.adapter, active):
                continue
            if not self._place(sequence):
                break
            admitted.append(sequence)
            active.add(sequence.adapter)
            self._note_admission(sequence, now)
            computed, read = self._begin(sequence, budget - tokens, ready)
            tokens, reads = tokens + computed, reads + read
        for sequence in admitted:
            del self._waiting[sequence]
        return tokens, reads

    def _adapter_fits(self, adapter: str, active: set[str]) -> bool:
        """Whether the batch has a slot for this adapter; the base model needs none."""
        limit = self.config.max_loras
        return not adapter or not limit or adapter in active or len(active - {""}) < limit

    def _begin(self, sequence: Sequence, budget: int, ready: list[Sequence]) -> tuple[int, int]:
        """Compute the first chunk of a placed sequence, for whose whole prompt there is room."""
        upto = min(sequence.target, sequence.computed + budget)
        missing = -(-upto // self.config.block_size) - sequence.blocks
        self.cache.reserve(missing)
        sequence.blocks += missing
        tokens = upto - sequence.computed
        return tokens, self._compute(sequence, upto, ready)

    def _place(self, sequence: Sequence) -> bool:
        """Move a sequence into the batch with its cached blocks, if its whole prompt fits now."""
        cache, size = self.cache, self.config.block_size
        if self._stalled and self._stalled[0] is sequence and cache.free <= self._stalled[1]:
            return False
        # The last token is always computed, or there would be nothing to sample from.
        hits = cache.match(islice(sequence.hashes, (sequence.target - 1) // size))
        shared = sequence.hashes[:hits]
        if -(-sequence.target // size) - cache.held(shared) > cache.free:
            self._stalled = (sequence, cache.free)
            return False
        cache.take(shared)
        sequence.shared = shared
        sequence.blocks = sequence.published = hits
        sequence.computed = hits * size
        sequence.phase = Phase.PREFILL
        self._running[sequence] = self._prefilling[sequence] = None
        return True

    def _note_admission(self, sequence: Sequence, now: float) -> None:
        """Count cache queries and hits once for each sequence, not again after a preemption."""
        if sequence.scheduled >= 0:
            return
        sequence.scheduled = now
        sequence.cached = sequence.computed
        self.prefix_queries += sequence.prompt_tokens
        self.prefix_hits += sequence.computed

    def _compute(self, sequence: Sequence, upto: int, ready: list[Sequence]) -> int:
        """Compute a prompt's next chunk; returns the cached tokens that it reads."""
        read = sequence.computed
        sequence.computed = upto
        self._publish(sequence, upto // self.config.block_size)
        if upto == sequence.target:
            ready.append(sequence)
        return read

    def _join(self, sequence: Sequence, now: float, finished: list[Sequence]) -> None:
        """A prompt is computed and its token sampled: go on decoding, or end."""
        if sequence.first_token < 0:
            sequence.first_token = now
        del self._prefilling[sequence]
        if sequence.computed == sequence.total - 1:
            self._finish(sequence)
            finished.append(sequence)
            return
        sequence.phase = Phase.DECODE
        sequence.offset = sequence.computed - self._tick
        self._decoding[sequence] = None
        self._context += sequence.computed
        self._watch(sequence)

    def _watch(self, sequence: Sequence) -> None:
        """Note the step at which a decoding sequence next needs a block or makes its last token."""
        until = min(sequence.blocks * self.config.block_size, sequence.total - 2)
        sequence.due = due = until - sequence.offset
        self._wheel.setdefault(due, []).append(sequence)

    def _make_room(self, sequence: Sequence, count: int, now: float, preempted: list[Sequence]) -> bool:
        """Take blocks, from younger sequences if need be; False when this one was the youngest."""
        while not self.cache.reserve(count):
            victim = next(reversed(self._running))
            self._preempt(victim, now)
            preempted.append(victim)
            if victim is sequence:
                return False
        sequence.blocks += count
        return True

    def _preempt(self, sequence: Sequence, now: float) -> None:
        """Back to the head of the queue; everything, generated tokens too, is computed again later."""
        self._leave(sequence)
        sequence.phase = Phase.WAITING
        sequence.paused = now
        sequence.preemptions += 1
        self.preemptions += 1
        self._waiting[sequence] = None
        self._waiting.move_to_end(sequence, last=False)

    def _finish(self, sequence: Sequence) -> None:
        self._leave(sequence)
        sequence.phase = Phase.FINISHED

    def _leave(self, sequence: Sequence) -> None:
        """Out of the batch; full blocks stay resident for others until they are evicted."""
        if sequence.phase is Phase.DECODE:
            computed = sequence.offset + self._tick
            # All tokens so far, with the one sampled last, whose KV entries do not exist yet.
            sequence.target = computed + 1
            self._context -= computed
            del self._decoding[sequence]
            self._publish(sequence, computed // self.config.block_size)
        self._prefilling.pop(sequence, None)
        del self._running[sequence]
        self.cache.release(sequence.shared, sequence.blocks - len(sequence.shared))
        sequence.shared = []
        sequence.blocks = sequence.published = sequence.computed = 0

    def _publish(self, sequence: Sequence, full: int) -> None:
        """Offer the sequence's first `full` blocks to others."""
        for key in sequence.hashes[sequence.published : full]:
            if self.cache.publish(key):
                sequence.shared.append(key)
        sequence.published = max(sequence.published, full)
