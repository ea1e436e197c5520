"""Which endpoint has encoded a request's media before, guessed from where earlier ones went.

To encode a picture costs an engine up to seconds, and it keeps the result in a cache of its own. An LRU for
each endpoint, as large as that cache, stands in for it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import EncoderMatch, Key
from endpoint_picker.core.decision import Decision
from endpoint_picker.core.endpoints import Candidates, Endpoint
from endpoint_picker.core.request import Medium, Request
from endpoint_picker.kvindex.hashing import Hashes
from endpoint_picker.kvindex.items import ItemIndex
from endpoint_picker.plugin import Parameters, Plugin, Wiring
from endpoint_picker.producers.departures import Departures

DEFAULT_MB: Final = 4096
ITEM_MB: Final = 2
"""What one encoded item is taken to need."""
LARGEST_LRU: Final = 1 << 20
"""Items: bounds memory whatever is configured."""
MOST_ITEMS: Final = 1024
"""Of one request: more are never looked at."""


class EncoderParameters(Parameters, frozen=True):
    cache_size_in_mb_per_server: int = msgspec.field(default=DEFAULT_MB, name="cacheSizeInMBPerServer")
    """Of each engine's encoder cache, not of ours; 0 or less means the default."""

    @property
    def capacity(self) -> int:
        """Items that an endpoint holds."""
        size = self.cache_size_in_mb_per_server
        return min(max(1, (size if size > 0 else DEFAULT_MB) // ITEM_MB), LARGEST_LRU)


class EncoderCache(Plugin):
    """Media that each endpoint has encoded (`mm-embeddings-cache-producer`).

    All media count the same, and one that a request names twice counts once. They come from the body, not
    from a tokenizer, so no producer has to run before.
    """

    type = "mm-embeddings-cache-producer"
    schema = EncoderParameters
    parameters: EncoderParameters

    def __init__(self, name: str, parameters: EncoderParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._match = attributes.encoder_match(name)
        self._items: Key[Hashes] = Key("MediaHashes", name)
        self._departures = Departures(wiring.table)
        self._index = ItemIndex(secret=wiring.rng.getrandbits(63))

    def adopt(self, old: Plugin) -> None:
        """The index; where endpoints hold less now, they forget as they are used."""
        if isinstance(old, EncoderCache):
            self._index, self._departures = old._index, old._departures

    def produces(self) -> Sequence[Key[Any]]:
        return (self._match,)

    def produce(self, request: Request, candidates: Candidates) -> None:
        if not request.payload.media:
            return
        self._forget_departed()
        items = _hashes(request.payload.media)
        held = self._index.count(items, rows=self.wiring.table.capacity)
        request.attributes.write(self._items, items)
        request.attributes.write(self._match, EncoderMatch(held.astype(np.float64), float(len(items))))

    def learn(self, request: Request, decision: Decision) -> None:
        """Who decodes holds all of them in the end; encoders, where there are any, are given them in turn."""
        items = request.attributes.read(self._items)
        if items is None:
            return
        self._insert_at(decision.endpoint, decision.row, items)
        if (encode := decision.encode) is not None:
            for place, (endpoint, row) in enumerate(zip(encode.endpoints, encode.rows, strict=True)):
                self._insert_at(endpoint, row, items[place :: len(encode.rows)])

    def learn_at(self, request: Request, row: int) -> None:
        """The endpoint in `row` encodes the media, or has them already."""
        items = request.attributes.read(self._items)
        # A free row (an even generation) holds no endpoint any more.
        if items is not None and self.wiring.table.generation[row] % 2:
            self._insert(row, items)

    def _insert_at(self, endpoint: Endpoint, row: int, items: Hashes) -> None:
        if len(items) and self.wiring.table.row_of(endpoint.id) == row:
            self._insert(row, items)

    def _insert(self, row: int, items: Hashes) -> None:
        self._forget_departed()
        # The index keeps the first ones longest; of single items the last one is the newest.
        self._index.insert(row, np.ascontiguousarray(items[::-1]), self.parameters.capacity)

    def _forget_departed(self) -> None:
        for row in self._departures.rows():
            self._index.drop(row)


def _hashes(media: Iterable[Medium]) -> Hashes:
    """One hash for each different medium, in the order in which they come first."""
    items = list(dict.fromkeys(media))[:MOST_ITEMS]
    digests = [_digest(item) for item in items]
    return np.frombuffer(b"".join(digests), np.uint64)


def _digest(item: Medium) -> bytes:
    return hashlib.blake2b(item.digest, digest_size=8, key=item.modality.encode()[:64]).digest()
