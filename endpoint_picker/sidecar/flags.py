"""The flags: what `--help` says of each option, and which environment variable sets it."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args, get_origin, get_type_hints

from endpoint_picker import __version__
from endpoint_picker.config.units import duration_text
from endpoint_picker.sidecar.options import EC_CONNECTORS, KV_CONNECTORS, Options

MORIIO: Final = "MoRI-IO is not in this version"
INLINE: Final = "configuration"
FILE: Final = "configuration-file"
RENAMED: Final = {"vllm-port": "model-server-port", "connector": "kv-connector"}
"""Former name of a flag → its name."""
STAGED: Final = {
    "prefiller-use-tls": ("enable-tls", "prefiller"),
    "decoder-use-tls": ("enable-tls", "decoder"),
    "prefiller-tls-insecure-skip-verify": ("tls-insecure-skip-verify", "prefiller"),
    "decoder-tls-insecure-skip-verify": ("tls-insecure-skip-verify", "decoder"),
}
"""Former switch → the list, and the stage in it, that say the same."""
IDLE: Final = "accepted for existing deployments, without effect here"

_HINTS: Final = get_type_hints(Options)
_DEFAULTS: Final = dict(zip(Options.__struct_encode_fields__, Options.__struct_defaults__, strict=True))


@dataclass(frozen=True, slots=True)
class Flag:
    """One option, as `--help` explains it."""

    name: str
    help: str
    metavar: str = ""
    env: str = ""
    """Environment variable that sets it, too."""

    @property
    def default(self) -> Any:
        return _DEFAULTS[self.name]

    @property
    def kind(self) -> type:
        """bool, int, str, tuple (of texts), or a type that is written as text."""
        hint = _HINTS[self.name.replace("-", "_")]
        options = get_args(hint) or (hint,)
        return bool if bool in options else get_origin(hint) or hint


GROUPS: Final[Mapping[str, tuple[Flag, ...]]] = {
    "where to serve": (
        Flag("port", "of rank 0; rank r listens on the port + r; 0 takes free ones", metavar="PORT"),
        Flag("model-server-port", "of the local engine; rank r on the port + r", metavar="PORT"),
        Flag("data-parallel-size", "ranks of the local engine, each with a port of its own", metavar="N"),
        Flag("secure-proxy", "serve TLS"),
        Flag(
            "cert-path",
            "folder with tls.crt and tls.key, read again when they change (else: self-signed)",
            metavar="DIR",
        ),
        Flag(
            "enable-tls", "stages that are spoken to over TLS: prefiller, decoder, encoder", metavar="STAGE,…"
        ),
        Flag("tls-insecure-skip-verify", "stages whose certificate is not verified", metavar="STAGE,…"),
        Flag("metrics-port", "our own /metrics over HTTP; 0: none", metavar="PORT"),
        Flag("pod-ip", "address of this pod, by which its own ranks are known", metavar="IP", env="POD_IP"),
    ),
    "how the prompt is computed elsewhere": (
        Flag(
            "kv-connector", f"how the engines hand over a prompt: {', '.join(KV_CONNECTORS)}", metavar="NAME"
        ),
        Flag(
            "ec-connector",
            f"how encoders hand over media: {', '.join(EC_CONNECTORS)}; empty: not at all",
            metavar="NAME",
        ),
        Flag(
            "mooncake-bootstrap-port",
            "where prefill replicas tell their engine ids",
            metavar="PORT",
            env="MOONCAKE_BOOTSTRAP_PORT",
        ),
        Flag(
            "sglang-bootstrap-port",
            "where SGLang's prefill and decode meet",
            metavar="PORT",
            env="SGLANG_BOOTSTRAP_PORT",
        ),
        Flag(
            "p2p-connector-port",
            "where engines fetch blocks from each other; rank r on the port + r",
            metavar="PORT",
            env="P2P_CONNECTOR_PORT",
        ),
        Flag("enable-p2p-pull", "fetch a cached prefix from the replica that the picker names (nixlv2)"),
        Flag(
            "enable-prefiller-sampling",
            "of several prefill replicas take any instead of the first",
            env="ENABLE_PREFILLER_SAMPLING",
        ),
        Flag("prefill-max-retries", "after 502, 503, 504 or no connection (nixlv2)", metavar="N"),
        Flag("prefill-retry-backoff", "between two tries", metavar="TIME"),
        Flag("decode-chunk-size", "decode chats in requests of so many tokens; 0: in one", metavar="TOKENS"),
        Flag(
            "strict-prefill", "a prefill that fails fails the request, instead of decoding locally without it"
        ),
    ),
    "where requests may be sent: a header names the place, so nothing is allowed unless it is named": (
        Flag(
            "allowed-prefillers", "hosts, host:port or networks (10.0.0.0/8); repeatable", metavar="ENTRY,…"
        ),
        Flag(
            "allowed-prefillers-file",
            "a file of such entries, one a line, or an endpoints file; read again when it changes",
            metavar="FILE",
        ),
        Flag("allow-any-prefiller", "send prompts wherever a request's header says"),
    ),
    "bounds": (
        Flag("prefill-timeout", "for computing a prompt elsewhere, retries included", metavar="TIME"),
        Flag("max-request-body-bytes", "larger bodies that must be held get 413", metavar="SIZE"),
        Flag("drain-timeout", "how long open requests may take to end after SIGTERM", metavar="TIME"),
    ),
    "logs": (
        Flag("v", "2 info, 3 verbose, 4 debug, 5 trace", metavar="LEVEL"),
        Flag("zap-encoder", "console or json", metavar="FORMAT"),
    ),
    IDLE: (
        Flag("enable-ssrf-protection", "it is on, see --allowed-prefillers"),
        Flag("inference-pool", "needs Kubernetes, not in this version", metavar="NAME", env="INFERENCE_POOL"),
        Flag("pool-group", "needs Kubernetes, not in this version", metavar="NAME"),
        Flag("max-idle-conns-per-host", "idle connections are closed after 4 s, however many", metavar="N"),
        Flag("tracing", "not in this version"),
        Flag("moriio-write-mode", f"{MORIIO}: true is an error"),
        Flag("moriio-parallel-dispatch", f"{MORIIO}: true is an error"),
        Flag("moriio-dp-size", f"{MORIIO}: more than 1 is an error", metavar="N"),
        Flag("moriio-dp-size-local", MORIIO, metavar="N"),
        Flag("moriio-tp-size", MORIIO, metavar="N"),
        Flag("moriio-local-pod-ip", MORIIO, metavar="IP"),
        Flag("moriio-decode-notify-port", MORIIO, metavar="PORT"),
        Flag("moriio-decode-handshake-port", MORIIO, metavar="PORT"),
        Flag("moriio-prefill-notify-port", MORIIO, metavar="PORT"),
        Flag("moriio-prefill-handshake-port", MORIIO, metavar="PORT"),
        Flag("moriio-parallel-decode-wait-timeout", MORIIO, metavar="TIME"),
        Flag("moriio-remote-hosts", MORIIO, metavar="HOST,…"),
        Flag("moriio-decode-hosts", MORIIO, metavar="HOST,…"),
        Flag("zap-devel", "see --zap-encoder and --v"),
        Flag("zap-log-level", "see --v", metavar="…"),
        Flag("zap-stacktrace-level", "see --v", metavar="…"),
        Flag("zap-time-encoding", "times are ISO 8601", metavar="…"),
    ),
}
FLAGS: Final = {flag.name: flag for flags in GROUPS.values() for flag in flags}


def parser() -> argparse.ArgumentParser:
    """All flags, grouped as `--help` shows them; what is not given is not in its result."""
    whole = argparse.ArgumentParser(
        prog="endpoint-picker sidecar",
        usage="endpoint-picker sidecar [options]",
        description="The proxy in a decode pod: it has the prompt of a request computed by the replica that "
        "the picker chose, then lets the engine beside it decode.",
        epilog="Every flag can be set in the configuration, too, under its name without the dashes. "
        "Different on purpose from other sidecars of the field: nothing is sent where nobody allowed it; a "
        "prefill that fails is done without, unless --strict-prefill is set, and has a time limit; "
        "x-request-id is kept, not doubled; min_tokens is capped in every leg for one token. "
        "docs/sidecar.md has the whole list.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    whole.add_argument("--version", action="version", version=__version__)
    whole.add_argument(f"--{FILE}", metavar="FILE", help="options as YAML or JSON; flags come before it")
    whole.add_argument(f"--{INLINE}", metavar="TEXT", help="the same, in place")
    for title, flags in GROUPS.items():
        group = whole.add_argument_group(title)
        for flag in flags:
            _add(group, flag)
    for name in RENAMED:
        whole.add_argument(f"--{name}", help=argparse.SUPPRESS)
    for name in STAGED:
        whole.add_argument(f"--{name}", nargs="?", const="true", help=argparse.SUPPRESS)
    return whole


def _add(group: Any, flag: Flag) -> None:
    text = flag.help.replace("%", "%%")
    if shown := _shown(flag.default):
        text += f" (default: {shown})"
    if flag.env:
        text += f" [{flag.env}]"
    names = [f"--{flag.name}", *(["-v"] if flag.name == "v" else [])]
    if flag.kind is bool:
        group.add_argument(*names, nargs="?", const="true", metavar="BOOL", help=text)
    elif flag.kind is tuple:
        group.add_argument(*names, action="append", metavar=flag.metavar, help=text)
    else:
        group.add_argument(*names, metavar=flag.metavar, help=text)


def _shown(default: Any) -> str:
    """A default as a person would write it; nothing where the text says enough."""
    if isinstance(default, bool):
        return "true" if default else ""
    if isinstance(default, float):
        return duration_text(default)
    return str(default) if default else ""
