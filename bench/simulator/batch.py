"""The sequences that compute, and what one step does to them.

A step costs time for what changes (a prompt, a new block, an end), not for each member of the batch: decoding
sequences sit in a wheel under the step at which they need something next.
"""

from bench.simulator import holdings
from bench.simulator.blocks import BlockCache
from bench.simulator.config import EngineConfig
from bench.simulator.sequence import Phase, Sequence


class Batch:
    """Prompts being computed and sequences being decoded, over one block cache."""

    def __init__(self, config: EngineConfig, cache: BlockCache) -> None:
        self._cache, self._size = cache, config.block_size
        self.running: dict[Sequence, None] = {}
        """In the order of admission: the last one is the first to lose its place."""
        self.context = 0
        """Cached tokens that all decoding sequences read in a step."""
        self._prefilling: dict[Sequence, None] = {}
        self._decoding: dict[Sequence, None] = {}
        self._wheel: dict[int, list[Sequence]] = {}
        self._tick = 0

    @property
    def decoding(self) -> int:
        """Sequences that gain a token in each step."""
        return len(self._decoding)

    def emitted(self, sequence: Sequence) -> int:
        """Tokens generated so far."""
        if sequence.phase is Phase.DECODE:
            return sequence.offset + self._tick - sequence.prompt_tokens + 1
        if sequence.phase is Phase.FINISHED:
            return sequence.output_tokens
        return max(0, sequence.target - sequence.prompt_tokens)

    def serve_due(self, now: float, preempted: list[Sequence]) -> list[Sequence]:
        """Give blocks to decoding sequences that need one now; returns those that make their last token."""
        tick, size = self._tick, self._size
        ending = []
        for sequence in self._wheel.pop(tick, ()):
            if sequence.due != tick or sequence.phase is not Phase.DECODE:
                continue
            if sequence.offset + tick == sequence.blocks * size:
                holdings.publish(self._cache, sequence, sequence.blocks)
                if not self._make_room(sequence, 1, now, preempted):
                    continue
            if sequence.offset + tick == sequence.total - 2:
                sequence.due = -1
                ending.append(sequence)
            else:
                self._watch(sequence)
        return ending

    def continue_prefills(
        self, now: float, budget: int, ready: list[Sequence], preempted: list[Sequence]
    ) -> tuple[int, int]:
        """Go on with prompts begun earlier; returns (tokens computed, cached tokens read)."""
        tokens = reads = 0
        for sequence in list(self._prefilling):
            # Room made for one prompt may have cost a younger one its place in the batch.
            if sequence.phase is not Phase.PREFILL or tokens == budget:
                continue
            upto = min(sequence.target, sequence.computed + budget - tokens)
            missing = -(-upto // self._size) - sequence.blocks
            if self._make_room(sequence, missing, now, preempted):
                tokens += upto - sequence.computed
                reads += self._compute(sequence, upto, ready)
        return tokens, reads

    def begin(self, sequence: Sequence, budget: int, ready: list[Sequence]) -> tuple[int, int]:
        """Admit a placed sequence, for whose whole prompt there is room, and compute its first chunk."""
        sequence.phase = Phase.PREFILL
        self.running[sequence] = self._prefilling[sequence] = None
        upto = min(sequence.target, sequence.computed + budget)
        holdings.extend(self._cache, sequence, upto, self._size)
        tokens = upto - sequence.computed
        return tokens, self._compute(sequence, upto, ready)

    def advance(
        self, ending: list[Sequence], ready: list[Sequence], end: float
    ) -> tuple[list[Sequence], list[Sequence]]:
        """The step is over at `end`; returns those decoded and those that have left with their last token.

        The latter still hold their blocks.
        """
        decoded = list(self._decoding)
        self.context += len(decoded)
        self._tick += 1
        finished = [sequence for sequence in ending if sequence.phase is Phase.DECODE]
        for sequence in finished:
            self._leave(sequence)
            sequence.phase = Phase.FINISHED
        for sequence in ready:
            self._join(sequence, end, finished)
        return decoded, finished

    def uneventful(self) -> int:
        """Steps from now on in which everybody only gains a token; 0 while a prompt is computed."""
        if self._prefilling or not self._decoding:
            return 0
        return min(self._wheel) - self._tick

    def stride(self, steps: int) -> None:
        """So many of those are over."""
        self.context += steps * len(self._decoding)
        self._tick += steps

    def drop(self, sequence: Sequence) -> None:
        """Out of the batch, without its blocks."""
        self._leave(sequence)
        holdings.vacate(self._cache, sequence)

    def _compute(self, sequence: Sequence, upto: int, ready: list[Sequence]) -> int:
        """Compute a prompt's next chunk; returns the cached tokens that it reads."""
        read = sequence.computed
        sequence.computed = upto
        holdings.publish(self._cache, sequence, upto // self._size)
        if upto == sequence.target:
            ready.append(sequence)
        return read

    def _join(self, sequence: Sequence, now: float, finished: list[Sequence]) -> None:
        """A prompt is computed and its token sampled: go on decoding, or end."""
        if sequence.first_token < 0:
            sequence.first_token = now
        if sequence.computed == sequence.total - 1:
            self._leave(sequence)
            sequence.phase = Phase.FINISHED
            finished.append(sequence)
            return
        del self._prefilling[sequence]
        sequence.phase = Phase.DECODE
        sequence.offset = sequence.computed - self._tick
        self._decoding[sequence] = None
        self.context += sequence.computed
        self._watch(sequence)

    def _watch(self, sequence: Sequence) -> None:
        """Note the step at which a decoding sequence next needs a block or makes its last token."""
        until = min(sequence.blocks * self._size, sequence.total - 2)
        sequence.due = due = until - sequence.offset
        self._wheel.setdefault(due, []).append(sequence)

    def _make_room(self, sequence: Sequence, count: int, now: float, preempted: list[Sequence]) -> bool:
        """Take blocks, from younger sequences if need be; False when this one was the youngest."""
        while not self._cache.reserve(count):
            victim = next(reversed(self.running))
            self.drop(victim)
            victim.phase = Phase.WAITING
            victim.paused = now
            victim.preemptions += 1
            preempted.append(victim)
            if victim is sequence:
                return False
        sequence.blocks += count
        return True

    def _leave(self, sequence: Sequence) -> None:
        """Out of the batch, with its blocks."""
        if sequence.phase is Phase.DECODE:
            computed = sequence.offset + self._tick
            # All tokens so far, with the one sampled last, whose KV entries do not exist yet.
            sequence.target = computed + 1
            self.context -= computed
            del self._decoding[sequence]
            holdings.publish(self._cache, sequence, computed // self._size)
        self._prefilling.pop(sequence, None)
        del self.running[sequence]
