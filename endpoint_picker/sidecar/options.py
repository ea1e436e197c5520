"""What can be set, and what the values may be; `flags` explains each of them.

A field's name with hyphens is its flag, and its key in the configuration file. Names and defaults are those
of the field's reference where it has them.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from endpoint_picker.config.hints import with_hint
from endpoint_picker.config.units import Duration, Quantity

KV_CONNECTORS: Final = ("nixlv2", "shared-storage", "sglang", "mooncake", "offloading")
EC_CONNECTORS: Final = ("ec-example", "ec-nixl")
STAGES: Final = ("prefiller", "decoder", "encoder")

Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1, le=1 << 30)]
Number = Annotated[int, Meta(ge=0, le=1 << 30)]


class Options(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """All options; sizes in bytes, times in seconds. What contradicts itself raises ValueError."""

    port: Port = 8000
    model_server_port: Port = 8200
    data_parallel_size: Count = 1
    secure_proxy: bool = True
    cert_path: str = ""
    enable_tls: tuple[str, ...] = ()
    tls_insecure_skip_verify: tuple[str, ...] = ()
    metrics_port: Port = 0
    pod_ip: str = ""

    kv_connector: str = "nixlv2"
    ec_connector: str = ""
    mooncake_bootstrap_port: Port = 8998
    sglang_bootstrap_port: Port = 8998
    p2p_connector_port: Port = 7777
    enable_p2p_pull: bool = False
    enable_prefiller_sampling: bool = False
    prefill_max_retries: Number = 0
    prefill_retry_backoff: Duration = Duration(0.2)
    decode_chunk_size: Number = 0
    strict_prefill: bool = False

    allowed_prefillers: tuple[str, ...] = ()
    allowed_prefillers_file: str = ""
    allow_any_prefiller: bool = False

    prefill_timeout: Duration = Duration(60.0)
    max_request_body_bytes: Quantity = Quantity(64 << 20)
    drain_timeout: Duration = Duration(60.0)

    v: Number = 2
    zap_encoder: str = "console"

    enable_ssrf_protection: bool | None = None
    """None: nobody asked for it; it is on all the same."""
    inference_pool: str = ""
    pool_group: str = ""
    max_idle_conns_per_host: Number = 1024
    tracing: bool = False
    moriio_write_mode: bool = False
    moriio_parallel_dispatch: bool = False
    moriio_dp_size: Count = 1
    moriio_dp_size_local: Number = 0
    moriio_tp_size: Count = 1
    moriio_local_pod_ip: str = ""
    moriio_decode_notify_port: Port = 61005
    moriio_decode_handshake_port: Port = 6301
    moriio_prefill_notify_port: Port = 61005
    moriio_prefill_handshake_port: Port = 6301
    moriio_parallel_decode_wait_timeout: Duration = Duration(30.0)
    moriio_remote_hosts: tuple[str, ...] = ()
    moriio_decode_hosts: tuple[str, ...] = ()
    zap_devel: bool = False
    zap_log_level: str = ""
    zap_stacktrace_level: str = ""
    zap_time_encoding: str = ""

    def __post_init__(self) -> None:
        _one_of("kv-connector", self.kv_connector, KV_CONNECTORS)
        _one_of("ec-connector", self.ec_connector, ("", *EC_CONNECTORS))
        for name in ("enable-tls", "tls-insecure-skip-verify"):
            for stage in getattr(self, name.replace("-", "_")):
                _one_of(name, stage, STAGES)
        self._check_ports()
        if self.prefill_timeout <= 0:
            raise ValueError("prefill-timeout: write more than 0, such as 60s: no prefill ends in no time")
        if self.enable_p2p_pull and self.kv_connector != "nixlv2":
            raise ValueError(
                "enable-p2p-pull: works with the kv-connector nixlv2 only; leave one of them out"
            )
        if self.allow_any_prefiller and self.enable_ssrf_protection:
            raise ValueError("allow-any-prefiller: contradicts enable-ssrf-protection; leave one of them out")
        if self.moriio_write_mode or self.moriio_parallel_dispatch or self.moriio_dp_size > 1:
            raise ValueError(
                "moriio-*: MoRI-IO is not in this version; leave moriio-write-mode, moriio-parallel-dispatch "
                "and moriio-dp-size out"
            )

    def _check_ports(self) -> None:
        for name, first in (("port", self.port), ("model-server-port", self.model_server_port)):
            if first + self.data_parallel_size - 1 > 65535:
                ranks = self.data_parallel_size
                raise ValueError(f"{name}: {first} is too high: each of {ranks} ranks has a port of its own")


def _one_of(name: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise ValueError(with_hint(f"{name}: {value!r} is not known", value, filter(None, valid)))
