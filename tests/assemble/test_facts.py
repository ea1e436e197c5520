"""Facts: missing producers are created, and each runs after those whose facts it looks at."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from endpoint_picker import catalog
from endpoint_picker.catalog import Catalog
from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import Key
from endpoint_picker.core.decision import Decision
from endpoint_picker.core.endpoints import Candidates
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Plugin
from tests.fakes.assembling import Document, assembled, names, plugin


@pytest.mark.parametrize("scorer", ["token-load-scorer", "active-request-scorer", "queue-scorer"])
def test_an_in_flight_producer_is_always_there_and_knows_the_prompt(scorer: str) -> None:
    assembly = assembled({"plugins": [plugin(scorer)]})
    assert names(assembly.producers) == ["token-producer", "inflight-load-producer"]


def test_the_ledger_charges_by_the_in_flight_producer_that_is_declared() -> None:
    blocks = [plugin("inflight-load-producer", "mine"), plugin("queue-scorer")]
    assembly = assembled({"plugins": blocks})
    assert assembly.charge == attributes.uncached_tokens("mine")
    assert names(assembly.producers) == ["token-producer", "mine"]


def test_a_scorer_of_encoded_media_is_given_its_producer() -> None:
    assembly = assembled({"plugins": [plugin("mm-embeddings-cache-scorer")]})
    assert "mm-embeddings-cache-producer" in names(assembly.producers)


def test_whoever_reads_predictions_runs_without_them(caplog: pytest.LogCaptureFixture) -> None:
    strict = plugin("prefix-cache-affinity-filter", "strict", ttftSource="latencyPredictor")
    blocks = [strict, plugin("slo-headroom-tier-filter"), plugin("latency-scorer")]
    assembly = assembled({"plugins": blocks})
    assert "predicted-latency-producer" not in assembly.instances
    assert "approx-prefix-cache-producer" in names(assembly.producers)
    texts = [each.getMessage() for each in caplog.records]
    told = [text.split(":")[0] for text in texts if "nothing predicts latencies" in text]
    assert told == ["strict", "slo-headroom-tier-filter", "latency-scorer"]


def test_a_fact_that_nobody_writes_names_its_consumer_and_the_nearest_producer() -> None:
    scorer = plugin("prefix-cache-scorer", "p", prefixMatchInfoProducerName="exat")
    message = "no default producer found for missing data key PrefixCacheMatchInfo/exat, consumed by p"
    with pytest.raises(ConfigError, match=message) as caught:
        assembled({"plugins": [scorer, plugin("approx-prefix-cache-producer", "exact")]})
    assert 'did you mean "exact"?' in str(caught.value)


def fact(name: str) -> Key[int]:
    return Key("Fact", name)


def producer(name: str, requires: Sequence[str] = (), reads: Sequence[str] = ()) -> type[Plugin]:
    """A producer of one fact of its own name."""

    class Sample(Plugin):
        type = name

        def requires(self) -> Sequence[Key[Any]]:
            return [fact(each) for each in requires]

        def reads(self) -> Sequence[Key[Any]]:
            return [fact(each) for each in reads]

        def produces(self) -> Sequence[Key[Any]]:
            return [fact(self.name)]

        def produce(self, request: Request, candidates: Candidates) -> None:
            return

        def learn(self, request: Request, decision: Decision) -> None:
            return

    return Sample


def with_types(*kinds: type[Plugin]) -> Catalog:
    return Catalog({**catalog.TABLE, **{kind.type: kind for kind in kinds}})


def declared(*kinds: type[Plugin]) -> Document:
    return {"plugins": [plugin(kind.type) for kind in kinds]}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("edge", ["requires", "reads"])
def test_producers_run_after_those_whose_facts_they_look_at(edge: str, reverse: bool) -> None:
    link: Callable[[str, str], type[Plugin]] = lambda name, other: producer(name, **{edge: [other]})  # noqa: E731
    kinds = [link("c", "b"), link("b", "a"), producer("a")]
    if reverse:
        kinds.reverse()
    found = assembled(declared(*kinds), catalog=with_types(*kinds))
    assert [name for name in names(found.producers) if len(name) == 1] == ["a", "b", "c"]


def test_unrelated_producers_keep_the_order_of_the_configuration() -> None:
    kinds = [producer(name) for name in "dbca"]
    found = assembled(declared(*kinds), catalog=with_types(*kinds))
    assert names(found.producers)[:4] == ["d", "b", "c", "a"]


def test_a_cycle_of_producers_is_refused() -> None:
    kinds = [producer("a", reads="b"), producer("b", requires="a"), producer("c")]
    with pytest.raises(ConfigError, match="need each other's facts in a cycle: a, b; break it"):
        assembled(declared(*kinds), catalog=with_types(*kinds))


def test_a_producer_may_read_its_own_fact_and_miss_an_optional_one() -> None:
    kinds = [producer("a", reads=("a", "nobody"))]
    assert "a" in names(assembled(declared(*kinds), catalog=with_types(*kinds)).producers)
