"""The scorer by work: its formula by hand, and what it does to a fleet."""

import numpy as np
import pytest

from endpoint_picker.core.attributes import prefix_match
from endpoint_picker.core.endpoints import EndpointTable, Gauges
from endpoint_picker.core.ledger import Ledger
from endpoint_picker.core.request import Request
from endpoint_picker.scheduling.scorers.work import PrefillWork
from endpoint_picker.testing import make
from tests.fakes.deciding import decided
from tests.fakes.pool import NOW, candidates_of, request_with, table_of

PROMPT = 1_000


def asked(table: EndpointTable, held: dict[int, int] | None = None) -> Request:
    """A prompt of 1,000 tokens, of which endpoints hold so many hundreds."""
    missing = [PROMPT - 100 * (held or {}).get(row, 0) for row in range(len(table))]
    return request_with(table, cost=missing)


def costs(table: EndpointTable, request: Request) -> list[float]:
    found: list[float] = make(PrefillWork, table).costs(request, candidates_of(table)).tolist()
    return found


def idle(count: int, *, block_size: int | None = None, num_blocks: int | None = None) -> EndpointTable:
    reading = Gauges(waiting=0, running=0, kv_usage=0.0, block_size=block_size, num_blocks=num_blocks)
    return table_of([reading] * count)


def test_an_idle_endpoint_costs_what_is_new_there() -> None:
    table = idle(2)
    # u = 1000 + 256 where nothing is held, 400 + 256 where six blocks are; each counts 1 + 5 times.
    assert costs(table, asked(table, {1: 6})) == [1_256 * 6, 656 * 6]


def test_the_least_cost_scores_one_and_the_others_their_share_of_it() -> None:
    table = idle(2)
    scores = make(PrefillWork, table).score(asked(table, {1: 6}), candidates_of(table))
    assert scores.tolist() == pytest.approx([656 / 1_256, 1.0])


def test_requests_in_flight_cost_their_work_and_what_they_read() -> None:
    table = idle(3)
    ledger = Ledger(table)
    waiting = ledger.reserve(1, prefill_tokens=500, prompt_tokens=2_000)
    decoding = ledger.reserve(2, prefill_tokens=500, prompt_tokens=2_000)
    decoding.first_token()
    read = 0.07 * (2_000 + 1 * (1_000 + 256))
    plain = 1_256 * 6 + read
    assert costs(table, asked(table)) == pytest.approx([1_256 * 6, plain + 500 + 256, plain])
    waiting.release()
    decoding.release()
    assert costs(table, asked(table)) == [1_256 * 6] * 3


def test_what_does_not_fit_into_the_cache_costs_twice_as_much() -> None:
    table = idle(2, block_size=16, num_blocks=100)
    table.room[0] = np.inf  # not known: nothing is said
    over = 2 * (1_256 + 1_000 - 1_600)
    Ledger(table).reserve(1, prefill_tokens=1_000, prompt_tokens=0).first_token()
    Ledger(table).reserve(0, prefill_tokens=1_000, prompt_tokens=0).first_token()
    first, second = costs(table, asked(table))
    assert second - first == over


def test_requests_of_other_pickers_count_as_long_as_their_reading_does() -> None:
    table = idle(2)
    table.observe(1, Gauges(waiting=0, running=4), NOW + 100.0)  # long after the reading before
    plain, shared = costs(table, asked(table))
    assert shared - plain == pytest.approx(0.07 * 4 * 1_256)
    table.updated_at[:] = NOW - 100.0
    table._oldest = -np.inf
    assert len(set(costs(table, asked(table)))) == 1


def test_those_of_them_that_wait_cost_what_a_usual_prompt_does() -> None:
    table = idle(3)
    scorer = make(PrefillWork, table)
    for _ in range(500):  # prompts of 1,000 tokens are usual
        scorer.learn(asked(table), decided(table, 0))
    for row, waiting in ((1, 0), (2, 2)):
        table.observe(row, Gauges(waiting=waiting, running=4 - waiting), NOW + 100.0)
    _, running, queued = scorer.costs(asked(table), candidates_of(table))
    assert queued - running == pytest.approx(2 * 1_256, rel=1e-3)


def test_who_computes_slowly_costs_more() -> None:
    table = idle(2)
    scorer = make(PrefillWork, table)
    for at in range(1, 40):
        for row, seconds in ((0, 0.1), (1, 0.3)):
            now = NOW - 40.0 + at
            scorer.pace.computed(row, 4_000.0, since=now - seconds, now=now)
    fast, slow = scorer.costs(asked(table), candidates_of(table))
    assert 1_256 * 5.5 < fast < 1_256 * 5.65
    assert 1_256 * 6.35 < slow < 1_256 * 6.5


def test_what_is_new_costs_more_where_the_cache_is_overwritten() -> None:
    table = idle(2, block_size=16, num_blocks=625)
    scorer = make(PrefillWork, table)
    for _ in range(3):  # three prompts of 1,000 tokens, of 10,000 that have room
        scorer.learn(asked(table), decided(table, 1))
    first, second = scorer.costs(asked(table), candidates_of(table))
    assert (first, second) == pytest.approx((1_256 * 6, 1_256 * (6 + 10 * 0.3)))


def test_a_prompt_that_is_computed_elsewhere_comes_to_both_caches() -> None:
    table = idle(3, block_size=16, num_blocks=625)
    scorer = make(PrefillWork, table)
    scorer.learn(asked(table), decided(table, 1, prefill=2))
    assert scorer.costs(asked(table), candidates_of(table)).tolist() == pytest.approx(
        [1_256 * 6, 1_256 * 7, 1_256 * 7]
    )


def test_its_pace_comes_from_first_tokens() -> None:
    table = idle(2)
    scorer = make(PrefillWork, table)
    request = asked(table)
    scorer.prefilled(request, 1)  # sent by nobody knows whom: nothing is learned
    assert not scorer.pace._count.any()
    scorer.learn(request, decided(table, 1))
    scorer.prefilled(request, 1)
    assert scorer.pace._count[1] == 1


def test_it_reads_the_producer_that_is_named() -> None:
    scorer = make(PrefillWork, idle(1), prefixMatchInfoProducerName="mine")
    assert prefix_match("mine") in scorer.requires()
