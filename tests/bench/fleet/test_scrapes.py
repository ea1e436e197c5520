from random import Random

import numpy as np
import pytest

from bench.fleet.replica import Job, Replica
from bench.fleet.scrapes import Scrapes
from bench.simulator.sequence import Sequence
from endpoint_picker.core.endpoints import Endpoint, EndpointTable
from tests.fakes.virtual import ENGINE, request


def table(count: int) -> EndpointTable:
    made = EndpointTable()
    made.replace(Endpoint(f"replica-{n}", "10.0.0.1", 8000 + n) for n in range(count))
    return made


def busy(number: int, *, horizon: float) -> Replica:
    replica = Replica(number, ENGINE, horizon=horizon)
    for place in range(6):
        prompt, output = 100 + 50 * place, 20 + 30 * place
        asked = request(prompt, output)
        replica.submit(Job(asked, Sequence(prompt, output), picker=0), 0.0)
    return replica


def advance(replica: Replica, now: float) -> None:
    while replica.next is not None and replica.next <= now:
        replica.proceed()


@pytest.mark.parametrize("interval", [0.05, 0.5])
def test_a_reading_is_that_of_the_last_time_it_was_due(interval: float) -> None:
    """Compared with a second replica, of which every page is kept."""
    replica, witness = busy(0, horizon=1.1 * interval), busy(0, horizon=1e9)
    view, rng = table(1), Random(3)
    scrapes = Scrapes(view, [replica], interval=interval, rng=Random(1))
    now, ages, taken = 0.0, [], set()
    while now < 4.0:
        now += rng.expovariate(20.0)
        advance(replica, now)
        advance(witness, now)
        scrapes.take(0, 0, now)
        at = float(view.updated_at[0])
        ages.append(now - at)
        taken.add(at)
        page = witness.gauges_at(at)
        assert page is not None
        assert (view.running[0], view.kv_usage[0]) == (page.running, page.kv_usage)
    assert min(ages) >= 0.0
    assert max(ages) <= interval
    spans = np.diff(sorted(taken)) / interval
    np.testing.assert_allclose(spans[1:], spans[1:].round(), atol=1e-6)


def test_replicas_are_not_read_at_the_same_time() -> None:
    replicas = [busy(number, horizon=2.0) for number in range(4)]
    view = table(4)
    scrapes = Scrapes(view, replicas, interval=1.0, rng=Random(1))
    for number in range(4):
        scrapes.take(number, number, 5.0)
    assert len(set(view.updated_at[:4].tolist())) == 4


def test_without_an_interval_gauges_are_never_old() -> None:
    replica, view = busy(0, horizon=0.0), table(1)
    scrapes = Scrapes(view, [replica], interval=0.0, rng=Random(1))
    advance(replica, 0.3)
    scrapes.take(0, 0, 0.3)
    assert view.updated_at[0] == 0.3
    assert view.running[0] == replica.engine.running > 0


def test_of_a_dead_replica_nothing_is_read() -> None:
    replica, view = busy(0, horizon=2.0), table(1)
    scrapes = Scrapes(view, [replica], interval=1.0, rng=Random(1))
    scrapes.take(0, 0, 1.0)
    read = view.updated_at[0]
    replica.die(1.5)
    scrapes.take(0, 0, 9.0)
    assert view.updated_at[0] == read
