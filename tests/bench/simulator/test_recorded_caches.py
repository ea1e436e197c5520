"""The cache beside what a real vLLM 0.32 told of its own: the same blocks come and go, in the same order.

The recording has 255 blocks of 32 tokens (one more is never given out). Its prompts follow from what was
stored, as whole blocks; those of 28 blocks had some tokens more. Where the real engine keeps a second copy
of a block, ours does not; so of blocks that were stored twice only the last copy's end counts.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.simulator.blocks import Change
from bench.simulator.config import EngineConfig
from bench.simulator.engine import Engine
from bench.simulator.sequence import Sequence

RECORDED = Path(__file__).parents[3].parent / "shared" / "golden" / "vllm-0.32.0" / "kv_events.jsonl"
pytestmark = pytest.mark.skipif(not RECORDED.is_file(), reason="the recordings of vLLM are not here")

SIZE = 32
CONFIG = EngineConfig(block_size=SIZE, num_blocks=255)
LONG = 28


def batches() -> Iterator[list[dict[str, Any]]]:
    """What each prompt brought."""
    for line in RECORDED.read_text().splitlines():
        _, _, payload = json.loads(line)["frames_hex"]
        yield msgspec.msgpack.decode(bytes.fromhex(payload))[1]


def prompts() -> Iterator[tuple[Sequence, list[dict[str, Any]]]]:
    chains: dict[int, list[int]] = {}
    """Block → all blocks up to it."""
    for events in batches():
        (stored,) = (event for event in events if event["type"] == "BlockStored")
        assert stored["block_size"] == SIZE
        hashes = [*chains.get(stored["parent_block_hash"], ()), *stored["block_hashes"]]
        chains |= {block: hashes[: place + 1] for place, block in enumerate(hashes)}
        more = len(hashes) == LONG
        yield Sequence(SIZE * len(hashes) + more, 1, hashes), events


def test_blocks_come_and_go_as_recorded() -> None:
    engine, told = Engine(CONFIG), list[tuple[Change, int]]()
    engine.cache.watcher = lambda change, block: told.append((change, block))
    copies: Counter[int] = Counter()
    twice: set[int] = set()
    evicted = 0
    for sequence, events in prompts():
        engine.submit(sequence, 0.0)
        while engine.busy:
            engine.step(0.0)
        stored, removed = [], []
        for event in events:
            for block in event["block_hashes"]:
                copies[block] += 1 if event["type"] == "BlockStored" else -1
                if event["type"] == "BlockRemoved":
                    removed.append(block)
                elif copies[block] == 1:
                    stored.append(block)
                else:
                    twice.add(block)
        gone = [block for block in removed if not copies[block]]
        assert [block for change, block in told if change is Change.STORED] == stored
        ours = [block for change, block in told if change is Change.REMOVED]
        assert set(ours) == set(gone)
        assert [each for each in ours if each not in twice] == [each for each in gone if each not in twice]
        evicted += len(ours)
        told.clear()
    assert len(twice) == 1
    assert evicted > 100


def test_a_repeated_prompt_finds_what_the_real_engine_found() -> None:
    """Of eight blocks seven: the last one is computed again, and told as stored again."""
    engine, known = Engine(CONFIG), set[int]()
    for sequence, events in prompts():
        engine.submit(sequence, 0.0)
        while engine.busy:
            engine.step(0.0)
        (stored,) = (event for event in events if event["type"] == "BlockStored")
        computed = SIZE * (len(sequence.hashes) - len(stored["block_hashes"]))
        assert sequence.cached == computed
        known.add(sequence.cached)
    assert known == {0, 7 * SIZE}
