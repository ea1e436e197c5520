"""The prefix producer for clusters: the same under another type."""

import random

from endpoint_picker.core.attributes import prefix_match
from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.core.request import Payload, Request
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Wiring
from endpoint_picker.producers.prefix_approx import PrefixParameters
from endpoint_picker.producers.prefix_multicluster import MulticlusterPrefix
from endpoint_picker.producers.tokens import TokenEstimate, TokenParameters
from tests.fakes.deciding import decided
from tests.fakes.pool import endpoint


def test_a_prompt_is_held_by_the_cluster_that_it_was_sent_to() -> None:
    table = EndpointTable(capacity=2)
    table.replace([endpoint(0), endpoint(1)])
    wiring = Wiring(table, Metrics(), random.Random(1))
    tokens = TokenEstimate("token-producer", TokenParameters(), wiring)
    producer = MulticlusterPrefix("mine", PrefixParameters(), wiring)
    request = Request("r", {}, "/", 0.0, Payload("m", prompts=(b"x" * 256 * 3,)))
    held = []
    for _ in range(2):
        tokens.produce(request, table.candidates(0.0))
        producer.produce(request, table.candidates(0.0))
        fact = request.attributes.read(prefix_match("mine"))
        assert fact is not None
        # 768 bytes are 192 estimated tokens: 3 blocks of 64
        assert fact.total == 3
        held.append(fact.blocks.tolist())
        producer.learn(request, decided(table, 1))
    assert held == [[0, 0], [0, 3]]
    assert MulticlusterPrefix.stability == "alpha"
