"""Handlers that go by a header, or name a rank."""

from typing import Any

import pytest

from endpoint_picker.core.decision import Decision
from endpoint_picker.core.endpoints import Gauges
from endpoint_picker.core.errors import ResourceExhausted
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Profile
from endpoint_picker.scheduling.handler import ByHeader, DataParallel, HeaderParameters, PortParameters
from endpoint_picker.scheduling.pickers import MaxScore, Most
from endpoint_picker.scheduling.profile import Picking, Scoring, WeightedProfile
from endpoint_picker.scheduling.scorers.load import Queue
from tests.fakes.pool import candidates_of, request_with, table_of, wiring_of

TABLE = table_of([Gauges(waiting=3), Gauges(waiting=1), Gauges(waiting=2)])


def profiles_of(*names: str) -> dict[str, Profile]:
    wiring = wiring_of(TABLE)
    return {
        name: WeightedProfile(
            name,
            wiring,
            scorers=[Scoring("q", "queue-scorer", Queue("q", None, wiring))],
            picker=Picking("p", "max-score-picker", MaxScore("p", Most(max_num_of_endpoints=2), wiring)),
        )
        for name in names
    }


def asking(**headers: str) -> Request:
    request = request_with(TABLE)
    request.headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return request


def chosen(request: Request, *names: str, **parameters: Any) -> Decision:
    handler = ByHeader("h", HeaderParameters(**parameters), wiring_of(TABLE))
    return handler.choose(request, candidates_of(TABLE), profiles_of(*names))


def test_the_header_names_the_profile() -> None:
    decision = chosen(asking(epp_profile="prefill"), "decode", "prefill")
    assert decision.primary.profile == "prefill"
    assert decision.results == {"prefill": decision.primary}


def test_without_the_header_the_default_profile_runs() -> None:
    assert chosen(asking(), "prefill", "decode").primary.profile == "decode"
    assert chosen(asking(epp_profile=""), "prefill", "decode").primary.profile == "decode"
    assert chosen(asking(), "a", "b", default_profile="b").primary.profile == "b"


def test_another_header_can_name_it() -> None:
    assert chosen(asking(x_mine="a"), "a", "decode", header_name="X-Mine").primary.profile == "a"


def test_the_only_profile_runs_whatever_is_named() -> None:
    assert chosen(asking(epp_profile="nonsense"), "only").primary.profile == "only"


@pytest.mark.parametrize("request_", [asking(epp_profile="nonsense"), asking()])
def test_a_name_that_no_profile_has_is_refused(request_: Request) -> None:
    with pytest.raises(ResourceExhausted, match="no scheduling profile") as caught:
        chosen(request_, "a", "b")
    assert caught.value.reason == "rejected-saturated"


def test_the_header_needs_a_name() -> None:
    with pytest.raises(ValueError, match="headerName is empty; name"):
        HeaderParameters(header_name="")


@pytest.mark.parametrize(
    ("port", "destination"), [(8000, "10.0.0.1:8000"), (9, "10.0.0.1:9"), (0, "10.0.0.1:0")]
)
def test_a_rank_is_named_beside_the_pods_one_port(port: int, destination: str) -> None:
    handler = DataParallel("d", PortParameters(primary_port=port), wiring_of(TABLE))
    decision = handler.choose(asking(), candidates_of(TABLE), profiles_of("only"))
    assert decision.row == 1
    assert decision.headers == (("x-data-parallel-host-port", "10.0.0.1:8000"),)
    # Two endpoints were picked, but the header means one of the first's pod.
    assert len(decision.primary.rows) == 2
    assert decision.destination == destination


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none(port: int) -> None:
    with pytest.raises(ValueError, match="write a port from 0 to 65535"):
        PortParameters(primary_port=port)
