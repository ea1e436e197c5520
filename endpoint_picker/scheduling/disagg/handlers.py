"""Handlers of several stages: one endpoint decodes and serves a request, others may prefill and encode.

The result of the decode profile is always the primary one. What is decided about the other stages may cost
time, but never the request: a stage that finds nobody is left out.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from endpoint_picker.core import attributes, wire
from endpoint_picker.core.decision import Decision, Inline, ProfileResult
from endpoint_picker.core.endpoints import Candidates
from endpoint_picker.core.errors import REJECTED_NO_ENDPOINTS, ResourceExhausted, ServiceUnavailable
from endpoint_picker.core.records import record
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Decider, Plugin, Profile, Wiring
from endpoint_picker.scheduling.disagg.announced import encoded_elsewhere, fields, prefilled_elsewhere
from endpoint_picker.scheduling.disagg.parameters import (
    PREFILL_FIRST,
    Deciders,
    DisaggParameters,
    InlineParameters,
    PrefillDecodeParameters,
    Profiles,
    Way,
)
from endpoint_picker.scheduling.disagg.stages import Asked, Stage, nobody_by_labels

log = logging.getLogger(__name__)

PREFILL: Final = "prefill"
ENCODE: Final = "encode"


@record
class Picked:
    """What the stages of one request came to."""

    decode: ProfileResult
    prefill: ProfileResult | None
    encode: ProfileResult | None

    @property
    def results(self) -> Mapping[str, ProfileResult]:
        ran = (self.decode, self.prefill, self.encode)
        return {result.profile: result for result in ran if result is not None}


class Staged(Plugin):
    """Runs the decode profile, and those of the other stages where that is wanted."""

    parameters: Way

    def __init__(
        self,
        name: str,
        parameters: Way,
        wiring: Wiring,
        *,
        profiles: Profiles,
        deciders: Deciders,
        prefill_first: bool = False,
    ) -> None:
        super().__init__(name, parameters, wiring)
        self.decode = profiles.decode
        """Name of the profile that must find somebody."""
        self.stages: Mapping[str, Stage] = {
            PREFILL: Stage(PREFILL, profiles.prefill, self, always=prefill_first),
            ENCODE: Stage(ENCODE, profiles.encode, self),
        }
        named = {PREFILL: deciders.prefill, ENCODE: deciders.encode}
        self.deciders: Mapping[str, str] = {stage: name for stage, name in named.items() if name}
        """Stage → name of the plugin that decides about it."""
        self._prefill_first = prefill_first
        self._peer = attributes.peer()
        self._inline = _inline(name, parameters)

    def connect(self, deciders: Mapping[str, Decider]) -> None:
        """Ask these plugins from now on, by stage."""
        for stage, decider in deciders.items():
            self.stages[stage].decider = Asked(decider, self.wiring)

    def choose(self, request: Request, candidates: Candidates, profiles: Mapping[str, Profile]) -> Decision:
        """Raises what the decode profile does; 503 where no candidate has the labels that it asks for."""
        run = self._prefill_then_decode if self._prefill_first else self._decode_then_prefill
        picked = run(request, candidates, profiles)
        prefill = prefilled_elsewhere(picked.prefill, picked.decode)
        encode = encoded_elsewhere(picked.encode, picked.decode)
        inline = self._inline if prefill is not None else None
        used = {ENCODE: encode, PREFILL: prefill}
        self._count(request, [stage for stage, result in used.items() if result is not None])
        return Decision(
            picked.decode,
            picked.results,
            headers=tuple(fields(None if inline else prefill, encode)),
            prefill=prefill,
            encode=encode,
            inline=inline,
        )

    def _decode_then_prefill(
        self, request: Request, candidates: Candidates, profiles: Mapping[str, Profile]
    ) -> Picked:
        decode = self._decoded(request, candidates, profiles)
        row = decode.rows[0]
        request.attributes.write(self._peer, row)
        encode = self.stages[ENCODE].run(request, candidates, profiles, row)
        return Picked(decode, self.stages[PREFILL].run(request, candidates, profiles, row), encode)

    def _prefill_then_decode(
        self, request: Request, candidates: Candidates, profiles: Mapping[str, Profile]
    ) -> Picked:
        prefill = self.stages[PREFILL].run(request, candidates, profiles, None)
        if prefill is not None:
            request.attributes.write(self._peer, prefill.rows[0])
        encode = self.stages[ENCODE].run(request, candidates, profiles, None)
        return Picked(self._decoded(request, candidates, profiles), prefill, encode)

    def _decoded(
        self, request: Request, candidates: Candidates, profiles: Mapping[str, Profile]
    ) -> ProfileResult:
        profile = profiles[self.decode]
        try:
            return profile.run(request, candidates)
        except ResourceExhausted as refusal:
            # To wait and come back, which 429 asks for, helps nobody while the pool has no such endpoint.
            if nobody_by_labels(profile, request, candidates):
                raise ServiceUnavailable(
                    f"failed to find available decode workers: no endpoint has the labels that the "
                    f"profile {self.decode} asks for",
                    reason=REJECTED_NO_ENDPOINTS,
                ) from refusal
            raise

    def _count(self, request: Request, stages: Sequence[str]) -> None:
        model = request.target_model
        self.wiring.metrics.disagg_decided(self.name, self.type, model, _decision_type(stages))


class DisaggProfiles(Staged):
    """`disagg-profile-handler`: one endpoint decodes, others prefill and encode media where deciders say so.

    Decode first: the decode profile, then the encode and the prefill profile, each where its decider says yes
    to the endpoint that decodes. Prefill first: the prefill profile for every request, then encode, then
    decode. The endpoint of the first stage is told to the later ones as `peer-endpoint`. A stage without a
    profile of its name, or without decider, is left out, and so is one that the endpoint that decodes was
    picked for.
    """

    type = "disagg-profile-handler"
    schema = DisaggParameters

    def __init__(self, name: str, parameters: DisaggParameters, wiring: Wiring) -> None:
        super().__init__(
            name,
            parameters,
            wiring,
            profiles=parameters.profile_of,
            deciders=parameters.decider_of,
            prefill_first=parameters.stage_order == PREFILL_FIRST,
        )


class PrefillDecode(Staged):
    """`pd-profile-handler`: decode, then prefill where the decider says so (deprecated).

    With a `primaryPort` the request goes to that port of the pod that decodes, and to no second choice; a
    header names the rank.
    """

    type = "pd-profile-handler"
    schema = PrefillDecodeParameters
    parameters: PrefillDecodeParameters

    def __init__(self, name: str, parameters: PrefillDecodeParameters, wiring: Wiring) -> None:
        profiles = Profiles(parameters.decode_profile, parameters.prefill_profile)
        super().__init__(
            name,
            parameters,
            wiring,
            profiles=profiles,
            deciders=Deciders(prefill=parameters.decider_plugin_name),
        )

    def choose(self, request: Request, candidates: Candidates, profiles: Mapping[str, Profile]) -> Decision:
        decision = super().choose(request, candidates, profiles)
        port = self.parameters.primary_port
        if not port:
            return decision
        rank = (wire.DATA_PARALLEL, decision.endpoint.host_port)
        return replace(decision, headers=(*decision.headers, rank), port=port)

    def _count(self, request: Request, stages: Sequence[str]) -> None:
        model = request.target_model
        self.wiring.metrics.pd_decided(self.name, self.type, model, _decision_type(stages))


def _decision_type(stages: Sequence[str]) -> str:
    """Such as `encode-prefill-decode`, from the stages beside the decoding."""
    return "-".join([*stages, "decode"]) if stages else "decode-only"


def _inline(handler: str, way: Way) -> Inline | None:
    if way.disaggregation == "inline":
        return way.inline.meant()
    if way.inline != InlineParameters():
        log.warning("%s: inline says how, but counts only with disaggregation: inline", handler)
    return None
