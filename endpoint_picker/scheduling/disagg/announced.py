"""Header fields for the proxy beside the endpoint that decodes: whom it asks to prefill and to encode."""

from collections.abc import Iterator

from endpoint_picker.core import wire
from endpoint_picker.core.decision import Decision, ProfileResult
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Plugin
from endpoint_picker.scheduling.disagg.parameters import HeaderParameters


def fields(prefill: ProfileResult | None, encode: ProfileResult | None) -> Iterator[tuple[str, str]]:
    """One endpoint prefills; all that were picked encode."""
    if prefill is not None:
        yield wire.PREFILLER, prefill.endpoints[0].host_port
    if encode is not None:
        yield wire.ENCODERS, ",".join(endpoint.host_port for endpoint in encode.endpoints)


def prefilled_elsewhere(result: ProfileResult | None, decode: ProfileResult) -> ProfileResult | None:
    """A prefill's result; None where whoever decodes was picked, and prefills by itself then.

    Ranks behind one port count as one: a proxy would ask itself.
    """
    own = decode.endpoints[0].host_port
    return None if result is None or result.endpoints[0].host_port == own else result


def encoded_elsewhere(result: ProfileResult | None, decode: ProfileResult) -> ProfileResult | None:
    """The same for encoding; several endpoints may share it, the one that decodes among them."""
    own = decode.endpoints[0].host_port
    return None if result is None or {each.host_port for each in result.endpoints} == {own} else result


class DisaggHeaders(Plugin):
    """`disagg-headers-handler`: tells a proxy what the profiles of these names picked.

    Deprecated: the profile handlers do so themselves.
    """

    type = "disagg-headers-handler"
    schema = HeaderParameters
    parameters: HeaderParameters

    def learn(self, request: Request, decision: Decision) -> None:
        results, decode = decision.results, decision.primary
        prefill = prefilled_elsewhere(results.get(self.parameters.prefill_profile), decode)
        encode = encoded_elsewhere(results.get(self.parameters.encode_profile), decode)
        request.fields |= dict(fields(None if decision.inline else prefill, encode))

    def learn_at(self, request: Request, row: int) -> None:
        """The header has gone out by then."""
