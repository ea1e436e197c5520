import numpy as np
import pytest

from bench.fleet.wrong import RUN, WrongIndex
from endpoint_picker.core.attributes import Counts, Key, PrefixMatch, prefix_match
from endpoint_picker.core.endpoints import Candidates, EndpointTable
from endpoint_picker.core.request import Request
from endpoint_picker.producers.prefix_approx import Prefixes
from tests.fakes.virtual import fleet, run, singles, stream

KEY = prefix_match()
ROWS = 16


def believed(held: int, total: int, *, share: float, seed: int = 0) -> Counts:
    """What each of the rows is thought to hold of a prompt of which it holds `held`."""
    asked = Request("one", {}, "/v1/completions", 0.0)
    hashes = np.random.default_rng(seed).integers(0, 2**63, total).astype(np.uint64)
    prefixes: Key[Prefixes] = Key("PrefixHashes", KEY.producer)
    asked.attributes.write(prefixes, Prefixes((hashes,), 64))
    asked.attributes.write(KEY, PrefixMatch(np.full(ROWS, held), total, 64))
    table = EndpointTable(capacity=ROWS)
    WrongIndex(KEY, share, 7).produce(asked, Candidates(table, np.arange(ROWS), 0.0))
    match = asked.attributes.read(KEY)
    assert match is not None
    assert (match.total, match.block_size) == (total, 64)
    return match.blocks


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_it_errs_about_its_share_of_blocks(share: float) -> None:
    total = 400 * RUN
    forgotten, invented = believed(total, total, share=share), believed(0, total, share=share)
    assert 1.0 - forgotten.mean() / total == pytest.approx(share, rel=0.15)
    assert invented.mean() / total == pytest.approx(share, rel=0.15)


def test_each_endpoint_has_errors_of_its_own_and_keeps_them() -> None:
    once, again = believed(300, 600, share=0.3), believed(300, 600, share=0.3)
    assert (once == again).all()
    assert len(set(once.tolist())) > 4


def test_a_prompt_is_never_held_more_than_whole_or_less_than_not() -> None:
    for held in (0, 1, 17, 40):
        blocks = believed(held, 40, share=0.5, seed=held)
        assert blocks.min() >= 0
        assert blocks.max() <= 40


def test_the_picker_is_misled_and_serves_all_the_same() -> None:
    requests = stream(60, every=0.05, prompt=1600)
    doubled = [*requests, *(stream(60, every=0.05, prompt=1600))]
    what = singles(*doubled)
    right, wrong = run(fleet(4), what, "affinity"), run(fleet(4, wrong_blocks=0.6), what, "affinity")
    assert wrong.summary().failed == 0.0
    assert wrong.summary().hit_rate < right.summary().hit_rate - 0.05
