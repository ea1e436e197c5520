"""Rules of other routers, with perfect knowledge of what each would know in the best case.

What caches hold, those that are fed by events know as late as those come (`Fleet.event_delay`).

They are written anew from what those projects publish. Each stands for a rule, not for a product: queues,
timeouts and the like are left out.
"""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from random import Random
from typing import Final

from bench.fleet import text
from bench.fleet.baselines import Baseline
from bench.fleet.fleet import prefill_seconds
from bench.fleet.policy import World
from bench.fleet.traffic import Request


class Dynamo(Baseline):
    """NVIDIA Dynamo's KV router (docs/components/router, lib/kv-router), at its defaults.

    cost = (prompt tokens that wait to be computed there, with this request's that are not cached, in blocks)
    + blocks that running requests hold there, with this one's; lowest wins, ties by chance (temperature 0).
    Overlap weight 1, blocks of output not tracked, blocks that requests share counted once. It knows what
    caches hold from events; of other routers' requests it knows nothing (replica sync is off).
    """

    def __init__(self, world: World, rng: Random) -> None:
        super().__init__(world, rng)
        self.outstanding: Counter[int] = Counter()
        """Replica → tokens of prompts that are not computed yet."""
        self._new: dict[int, int] = {}
        """Request → what it added to that."""
        self.active: list[Counter[int]] = [Counter() for _ in world.replicas]
        """For each replica: block id → running requests that hold it."""

    def best(self, request: Request) -> int:
        hashes = _Hashes(self.world, request)
        self._cached = {each: hashes.cached(each) for each in self.there}
        return self.least([self._cost(request, each) for each in self.there])

    def sent(self, request: Request, replica: int) -> None:
        self._new[request.number] = request.prompt_tokens - self._cached[replica]
        self.outstanding[replica] += self._new[request.number]
        self.active[replica].update(_prompt_blocks(self.world, request))

    def started(self, request: Request, replica: int) -> None:
        self.outstanding[replica] -= self._new.pop(request.number, 0)

    def over(self, request: Request, replica: int) -> None:
        self.started(request, replica)
        active = self.active[replica]
        for block in _prompt_blocks(self.world, request):
            active[block] -= 1
            if not active[block]:
                del active[block]

    def _cost(self, request: Request, replica: int) -> float:
        new = request.prompt_tokens - self._cached[replica]
        prefill = (self.outstanding[replica] + new) / self.world.block_tokens
        blocks, active = _prompt_blocks(self.world, request), self.active[replica]
        return prefill + len(active) + sum(block not in active for block in blocks)


class CacheAware(Baseline):
    """SGLang's gateway, `cache_aware`, at the defaults of its command line.

    Imbalanced (longest - shortest > 64 and longest > 1.5 · shortest, in its own requests) → the shortest.
    Else the replica whose tree of earlier prompts matches most, if that is more than 0.3 of the prompt; else
    the shortest. A tree holds 2^26 characters and forgets what was used least recently.
    """

    MATCH: Final = 0.3
    ABSOLUTE: Final = 64
    RELATIVE: Final = 1.5
    CHARACTERS = 67_108_864

    def __init__(self, world: World, rng: Random) -> None:
        super().__init__(world, rng)
        self._trees: list[OrderedDict[int, None]] = [OrderedDict() for _ in world.replicas]
        self._most = self.CHARACTERS // (text.TOKEN_BYTES * world.block_tokens)

    def best(self, request: Request) -> int:
        loads = [self.in_flight[each] for each in self.there]
        if max(loads) - min(loads) > self.ABSOLUTE and max(loads) > self.RELATIVE * min(loads):
            return self.least(loads)
        blocks = _prompt_blocks(self.world, request)
        matches = [_leading(blocks, self._trees[each]) for each in self.there]
        if max(matches) > self.MATCH * len(blocks):
            return self.least([-match for match in matches])
        return self.least(loads)

    def sent(self, request: Request, replica: int) -> None:
        tree = self._trees[replica]
        for block in reversed(_prompt_blocks(self.world, request)):
            tree[block] = None
            tree.move_to_end(block)
        while len(tree) > self._most:
            tree.popitem(last=False)


class Mooncake(Baseline):
    """Mooncake's scheduling by cache and load (arXiv 2407.00079, algorithm 1), without transfers of caches.

    Time to first token = (predicted prefill of all that wait there) + (own prefill, given what is cached
    there); lowest wins. It knows the caches, and the true speed of each engine in place of its offline fit.
    Rejection is left out, so that nobody looks better by refusing.
    """

    def __init__(self, world: World, rng: Random) -> None:
        super().__init__(world, rng)
        self.queued: list[dict[int, float]] = [{} for _ in world.replicas]
        """For each replica: request that waits there → its predicted prefill."""

    def best(self, request: Request) -> int:
        hashes = _Hashes(self.world, request)
        self._own = {each: self._prefill(request, each, hashes.cached(each)) for each in self.there}
        return self.least([sum(self.queued[each].values()) + self._own[each] for each in self.there])

    def sent(self, request: Request, replica: int) -> None:
        self.queued[replica][request.number] = self._own[replica]

    def started(self, request: Request, replica: int) -> None:
        self.queued[replica].pop(request.number, None)

    def over(self, request: Request, replica: int) -> None:
        self.started(request, replica)

    def _prefill(self, request: Request, replica: int, cached: int) -> float:
        return prefill_seconds(self.world.replicas[replica].engine.config, request.prompt_tokens, cached)


class _Hashes:
    """A prompt's blocks as engines name them."""

    def __init__(self, world: World, request: Request) -> None:
        self._world, self._request = world, request
        self._by_size: dict[int, list[int]] = {}

    def cached(self, replica: int) -> int:
        """Tokens of the prompt that this replica's cache is known to hold; as in an engine, never all."""
        world, request = self._world, self._request
        size = world.replicas[replica].config.block_size
        if size not in self._by_size:
            known = text.hashes(request, world.block_tokens, size)
            self._by_size[size] = known[: (request.prompt_tokens - 1) // size]
        return world.cached(replica, self._by_size[size]) * size


def _prompt_blocks(world: World, request: Request) -> Sequence[int]:
    return request.blocks[: -(-request.prompt_tokens // world.block_tokens)]


def _leading(blocks: Sequence[int], held: OrderedDict[int, None]) -> int:
    """How many of the first blocks are held."""
    for count, block in enumerate(blocks):
        if block not in held:
            return count
    return len(blocks)
