"""The producer of encoded media: who has encoded what, and what is forgotten."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from endpoint_picker.core.attributes import EncoderMatch, encoder_match
from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.core.request import Medium, Payload, Request
from endpoint_picker.producers.encoders import LARGEST_LRU, MOST_ITEMS, EncoderCache, EncoderParameters
from tests.fakes.deciding import decided
from tests.fakes.plugins import configured
from tests.fakes.pool import endpoint, table_of


def built(table: EndpointTable, **parameters: Any) -> EncoderCache:
    return configured(EncoderCache, table, parameters, name="mm")


class Pool:
    """Three endpoints and the producer."""

    def __init__(self, **parameters: Any) -> None:
        self.table = table_of((), [{}] * 3)
        self.producer = built(self.table, **parameters)

    def ask(self, items: str, modality: str = "image") -> Request:
        """A request with a medium for each letter."""
        media = tuple(Medium(modality, letter.encode()) for letter in items)
        request = Request("r", {}, "/", 0.0, Payload("m", prompts=(b"x",), media=media))
        self.producer.produce(request, self.table.candidates(0.0))
        return request

    def match(self, items: str, modality: str = "image") -> tuple[list[float], float] | None:
        fact = self.ask(items, modality).attributes.read(encoder_match("mm"))
        return None if fact is None else (fact.matched.tolist(), fact.total)

    def serve(self, row: int, items: str, **others: int) -> Request:
        request = self.ask(items)
        self.producer.learn(request, decided(self.table, row, **others))
        request.let_go()
        return request


def test_media_are_held_where_they_were_sent() -> None:
    pool = Pool()
    assert pool.match("ab") == ([0.0] * 4, 2.0)
    pool.serve(1, "ab")
    pool.serve(2, "b")
    # Each item counts one; c is new to all.
    assert pool.match("abc") == ([0.0, 2.0, 1.0, 0.0], 3.0)
    assert pool.match("c") == ([0.0] * 4, 1.0)


def test_a_request_without_media_has_no_fact() -> None:
    assert Pool().match("") is None


def test_a_medium_that_is_named_twice_counts_once() -> None:
    pool = Pool()
    pool.serve(0, "aa")
    assert pool.match("aab") == ([1.0, 0.0, 0.0, 0.0], 2.0)


def test_equal_bytes_of_another_modality_are_another_medium() -> None:
    pool = Pool()
    pool.serve(0, "a")
    assert pool.match("a", "video") == ([0.0] * 4, 1.0)


def test_who_decodes_and_who_encodes_hold_it() -> None:
    pool = Pool()
    pool.serve(0, "a", prefill=1, encode=2)
    assert pool.match("a") == ([1.0, 0.0, 1.0, 0.0], 1.0)


def test_encoders_are_given_media_in_turn() -> None:
    pool = Pool()
    request, decision = pool.ask("abc"), decided(pool.table, 0, encode=1)
    both = replace(decision.results["encode"], rows=(1, 2), endpoints=(pool.table[1], pool.table[2]))
    pool.producer.learn(request, replace(decision, encode=both))
    assert pool.match("ac") == ([2.0, 2.0, 0.0, 0.0], 2.0)
    assert pool.match("b") == ([1.0, 0.0, 1.0, 0.0], 1.0)


def test_who_serves_it_in_the_end_holds_it_too() -> None:
    pool = Pool()
    pool.producer.learn_at(pool.serve(0, "a"), 2)
    assert pool.match("a") == ([1.0, 0.0, 1.0, 0.0], 1.0)


def test_the_least_recently_used_items_are_forgotten() -> None:
    # 6 MB / 2 MB = 3 items
    pool = Pool(cacheSizeInMBPerServer=6)
    pool.serve(0, "abc")
    pool.serve(0, "a")
    pool.serve(0, "d")
    assert pool.match("b") == ([0.0] * 4, 1.0)
    assert pool.match("acd") == ([3.0, 0.0, 0.0, 0.0], 3.0)
    # Of more than fit, the last ones stay.
    pool.serve(1, "wxyz")
    assert pool.match("w") == ([0.0] * 4, 1.0)
    assert pool.match("xyz") == ([0.0, 3.0, 0.0, 0.0], 3.0)


@pytest.mark.parametrize(
    ("size", "items"),
    [(4096, 2048), (2048, 1024), (3, 1), (1, 1), (0, 2048), (-1, 2048), (2**40, LARGEST_LRU)],
)
def test_capacity(size: int, items: int) -> None:
    assert EncoderParameters(cache_size_in_mb_per_server=size).capacity == items
    assert EncoderParameters().capacity == 2048


def test_what_an_endpoint_held_goes_with_it() -> None:
    pool = Pool()
    request = pool.serve(0, "a")
    pool.table.replace([endpoint(1), endpoint(2)])
    pool.producer.learn_at(request, 0)
    pool.table.replace([endpoint(1), endpoint(2), endpoint(7)])
    assert pool.table[0].name == "pod-7"
    assert pool.match("a") == ([0.0] * 4, 1.0)


def test_a_pick_that_has_left_since_is_not_learned_from() -> None:
    pool = Pool()
    request, decision = pool.ask("a"), decided(pool.table, 0)
    pool.table.replace([endpoint(1), endpoint(2), endpoint(7)])
    pool.producer.learn(request, decision)
    assert pool.match("a") == ([0.0] * 4, 1.0)


def test_of_very_many_media_some_are_looked_at() -> None:
    pool = Pool()
    media = tuple(Medium("image", b"%d" % i) for i in range(MOST_ITEMS + 50))
    request = Request("r", {}, "/", 0.0, Payload("m", media=media))
    pool.producer.produce(request, pool.table.candidates(0.0))
    fact = request.attributes.read(encoder_match("mm"))
    assert isinstance(fact, EncoderMatch)
    assert fact.total == MOST_ITEMS


def test_a_new_instance_goes_on_with_what_the_old_one_learned() -> None:
    pool = Pool()
    pool.serve(1, "abc")
    heir = built(pool.table, cacheSizeInMBPerServer=4)
    heir.adopt(pool.producer)
    pool.producer = heir
    assert pool.match("abc") == ([0.0, 3.0, 0.0, 0.0], 3.0)
    pool.serve(1, "d")
    assert pool.match("cd") == ([0.0, 2.0, 0.0, 0.0], 2.0)
    assert pool.match("ab") == ([0.0] * 4, 2.0)


def test_it_writes_one_fact_under_its_own_name() -> None:
    producer = Pool().producer
    assert list(producer.produces()) == [encoder_match("mm")]
    assert not producer.requires()


def test_a_misspelled_parameter_is_told() -> None:
    with pytest.raises(ConfigError, match=r'did you mean "cacheSizeInMBPerServer"\?'):
        built(table_of((), [{}]), cacheSizeInMB=4)


def test_facts_are_by_row_also_when_the_table_has_grown() -> None:
    pool = Pool()
    pool.serve(1, "a")
    pool.table.replace([endpoint(i) for i in range(70)])
    found = pool.match("a")
    assert found is not None
    assert np.flatnonzero(found[0]).tolist() == [1]
    assert len(found[0]) == pool.table.capacity
