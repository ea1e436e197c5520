"""What the handlers of stages take: the nested notation of today and the flat one that came before it."""

from typing import Any, Final, Literal

import msgspec

from endpoint_picker.config.units import GoDuration
from endpoint_picker.core.decision import Inline
from endpoint_picker.plugin import Parameters

DECODE_FIRST: Final = "decode-first"
PREFILL_FIRST: Final = "prefill-first"
_ORDERS: Final = {
    "": DECODE_FIRST,
    "decode": DECODE_FIRST,
    "decodefirst": DECODE_FIRST,
    "prefill": PREFILL_FIRST,
    "prefillfirst": PREFILL_FIRST,
}
"""Spellings, without capitals, dashes and underscores."""
SHORTEST: Final = 0.001
"""Seconds; a shorter time-out is a bare number that was meant as seconds and read as nanoseconds."""


class InlineParameters(Parameters, frozen=True):
    """How the picker has prompts computed itself."""

    timeout: GoDuration = GoDuration(30.0)
    """For all of the prefill, a second attempt included."""
    max_concurrent_per_endpoint: int = 256
    """Prompts that one endpoint is given at the same time."""
    scheme: Literal["http", "https"] = "http"
    insecure_skip_verify: bool = False
    """Take any certificate of the endpoints."""

    def __post_init__(self) -> None:
        if self.timeout < SHORTEST:
            raise ValueError(
                f"timeout is {self.timeout:g} seconds; write at least 1ms, with a unit, such as 30s "
                "(a bare number is nanoseconds)"
            )
        if self.max_concurrent_per_endpoint < 1:
            raise ValueError(
                f"maxConcurrentPerEndpoint is {self.max_concurrent_per_endpoint}; write 1 or more"
            )

    def meant(self) -> Inline:
        return Inline(
            timeout=float(self.timeout),
            most=self.max_concurrent_per_endpoint,
            scheme=self.scheme,
            verify=not self.insecure_skip_verify,
        )


class Way(Parameters, frozen=True):
    """Who carries a prefill out."""

    disaggregation: Literal["sidecar", "inline"] = "sidecar"
    """sidecar: a header tells a proxy beside the endpoint that decodes where to prefill; inline: the picker
    itself has the prompt computed, before the request goes on."""
    inline: InlineParameters = InlineParameters()
    """Counts with `disaggregation: inline`."""


class Profiles(Parameters, frozen=True):
    """The scheduling profile of each stage; a stage without one is left out."""

    decode: str = "decode"
    prefill: str = "prefill"
    encode: str = "encode"


class Deciders(Parameters, frozen=True):
    """The plugin that decides about each stage; empty: the stage is left out."""

    prefill: str = ""
    encode: str = ""


class DisaggParameters(Way, frozen=True):
    """Either `profiles` and `deciders`, or the older keys beside them, which are turned into those."""

    stage_order: str = DECODE_FIRST
    """decode-first, or prefill-first: then every request has a prefill."""
    profiles: Profiles | None = None
    deciders: Deciders | None = None
    decode_profile: str | None = None
    """Old: `profiles.decode`."""
    prefill_profile: str | None = None
    """Old: `profiles.prefill`."""
    encode_profile: str | None = None
    """Old: `profiles.encode`."""
    prefill_decider_plugin_name: str | None = None
    """Old: `deciders.prefill`."""
    encode_decider_plugin_name: str | None = None
    """Old: `deciders.encode`."""
    decider_plugin_name: str | None = None
    """Older: `deciders.prefill`, unless `prefillDeciderPluginName` names one."""

    def __post_init__(self) -> None:
        flat = [field.encode_name for field in _FLAT if getattr(self, field.name) is not None]
        nested = [name for name in ("profiles", "deciders") if getattr(self, name) is not None]
        if flat and nested:
            raise ValueError(
                f"{' and '.join(nested)} (today's notation) and {', '.join(flat)} (the old one) exclude each "
                f"other; write {' and '.join(nested)} only"
            )
        self._translate()
        if self.stage_order == PREFILL_FIRST and self.decider_of.prefill:
            raise ValueError(
                f"stageOrder is {PREFILL_FIRST}, where every request has a prefill, so nobody decides about "
                f"it; remove the decider {self.decider_of.prefill} of the prefill, or write "
                f"stageOrder: {DECODE_FIRST}"
            )

    @property
    def profile_of(self) -> Profiles:
        """The profile of each stage."""
        return self.profiles or Profiles()

    @property
    def decider_of(self) -> Deciders:
        """The decider of each stage."""
        return self.deciders or Deciders()

    def _translate(self) -> None:
        """Move what the old keys say to those of today, and spell the order in one way."""
        order = _ORDERS.get(self.stage_order.lower().replace("-", "").replace("_", ""))
        if order is None:
            raise ValueError(f"stageOrder is '{self.stage_order}'; write {DECODE_FIRST} or {PREFILL_FIRST}")
        usual, named = Profiles(), self.profile_of
        profiles = Profiles(
            decode=self.decode_profile or named.decode or usual.decode,
            prefill=self.prefill_profile or named.prefill or usual.prefill,
            encode=self.encode_profile or named.encode or usual.encode,
        )
        deciders = Deciders(
            prefill=self.prefill_decider_plugin_name or self.decider_plugin_name or self.decider_of.prefill,
            encode=self.encode_decider_plugin_name or self.decider_of.encode,
        )
        msgspec.structs.force_setattr(self, "stage_order", order)
        msgspec.structs.force_setattr(self, "profiles", profiles)
        msgspec.structs.force_setattr(self, "deciders", deciders)
        for field in _FLAT:
            msgspec.structs.force_setattr(self, field.name, None)


_FLAT: Final = tuple(
    field
    for field in msgspec.structs.fields(DisaggParameters)
    if field.name.endswith(("_profile", "_plugin_name"))
)


class PrefillDecodeParameters(Way, frozen=True):
    """Two stages, decode first."""

    decode_profile: str = "decode"
    prefill_profile: str = "prefill"
    decider_plugin_name: str = "prefix-based-pd-decider"
    primary_port: int = 0
    """Where one port of a pod stands for all its ranks: that port; a header names the rank. 0: off."""
    prefix_match_info_producer_name: str = ""
    """Whose matches a `prefix-based-pd-decider` reads that names nobody itself."""
    prefix_plugin_type: Any = None
    """Without effect, as is the next one."""
    prefix_plugin_name: Any = None

    def __post_init__(self) -> None:
        if not self.decider_plugin_name:
            raise ValueError("deciderPluginName is empty; name the plugin that decides about the prefill")
        if not 0 <= self.primary_port <= 65535:
            raise ValueError(
                f"primaryPort is {self.primary_port}; write a port from 1 to 65535, or 0 for none"
            )


class HeaderParameters(Parameters, frozen=True):
    """The profiles whose endpoints are told."""

    prefill_profile: str = "prefill"
    encode_profile: str = "encode"
