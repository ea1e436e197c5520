"""Flags: what a person types becomes `Options`, or goes to the command that it names."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import uvloop

from endpoint_picker import __version__
from endpoint_picker.app import SHELLS, App
from endpoint_picker.commands import check, plugins
from endpoint_picker.commands.arguments import ArgumentParser
from endpoint_picker.config import units
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.observability import logs
from endpoint_picker.options import Options
from endpoint_picker.sidecar import command as sidecar

N = TypeVar("N", int, float)

SHORTEST_REFRESH: Final = 0.05
"""Seconds; a shorter interval is raised to it, as deployments in the field expect."""


COMMANDS: Final[Mapping[str, Callable[[Sequence[str]], int]]] = {
    "check": check.run,
    "plugins": plugins.run,
    "sidecar": sidecar.run,
}
"""What can be asked of the program beside serving, which is what it does when nothing is named."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that is named, else the picker; answers the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments and arguments[0] in COMMANDS:
        return _answered(COMMANDS[arguments[0]], arguments[1:])
    return _serve(arguments)


def _answered(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    try:
        code = command(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough; what is left must not be written when the interpreter ends either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _serve(arguments: Sequence[str]) -> int:
    flags = parser().parse_args(arguments)
    try:
        logs.configure(flags.v, flags.zap_encoder)
        app = App(options(flags))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(app.run())
    except (ConfigError, OSError) as error:
        print(f"endpoint-picker: {error}", file=sys.stderr)
        return 1
    return 0


# === how values are written ===


def switch(text: str) -> bool:
    """A boolean as deployments write it: `--flag`, `--flag=true`, `--flag=false`."""
    match text.lower():
        case "true" | "t" | "1":
            return True
        case "false" | "f" | "0":
            return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def transport(text: str) -> str:
    if text in SHELLS:
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(SHELLS)}")


def port(text: str) -> int:
    if text.isdecimal() and 0 <= int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port (0 to 65535; 0 takes a free one)")


def count(text: str) -> int:
    if text.isdecimal() and 0 < int(text) < 1 << 31:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 up")


def seconds(text: str) -> float:
    """`200ms`, `1m30s`, or a plain number of seconds."""
    return _written(units.duration, text, "a time such as 200ms or 1m30s")


def size(text: str) -> int:
    """`16Mi`, `1k`, `4194304`; a trailing B is allowed."""
    return _written(units.quantity, text.removesuffix("B"), "a size such as 16Mi")


def _written(read: Callable[[str], N], text: str, what: str) -> N:
    try:
        value = read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from error
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is negative; write {what}")
    return value


# === the flags ===


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag; a type of `switch` makes it a boolean that needs no value."""

    name: str
    type: Callable[[str], Any]
    default: Any
    help: str
    metavar: str | None = None


POOL: Final = (
    Flag(
        "endpoints",
        str,
        "",
        "the replicas; IPv6 in brackets, names are resolved once; PORT-PORT is a pod of ranks",
        "HOST:PORT,…",
    ),
    Flag("config-file", str, "", "an EndpointPickerConfig, YAML or JSON", "FILE"),
    Flag("config-text", str, "", "the same, in place", "TEXT"),
    Flag("lenient", switch, False, "unknown configuration keys warn instead of ending the start"),
    Flag("allow-experimental-plugins", switch, False, "load plugins of alpha stability"),
    Flag("pool-name", str, "epp", "name of the pool in metrics (default: epp)", "NAME"),
)
SERVING: Final = (
    Flag("transport", transport, "http2", "http2, or grpcio: the library's server (default: http2)", "NAME"),
    Flag("grpc-port", port, 9002, "ext_proc (default: 9002)", "PORT"),
    Flag("grpc-health-port", port, 9003, "gRPC health, plaintext (default: 9003)", "PORT"),
    Flag("metrics-port", port, 9090, "/metrics over HTTP (default: 9090)", "PORT"),
    Flag("secure-serving", switch, True, "TLS on the ext_proc port (default: true)"),
    Flag("cert-path", str, "", "folder with tls.crt and tls.key (default: a self-signed certificate)", "DIR"),
    Flag("enable-cert-reload", switch, False, "take new files in --cert-path without a restart"),
    Flag("health-checking", switch, False, "serve health on the ext_proc port too"),
    Flag(
        "drain-timeout",
        seconds,
        30.0,
        "how long to serve on, not ready, after SIGTERM (default: 30s)",
        "TIME",
    ),
    Flag("grpc-max-recv-msg-size", size, None, "largest message from Envoy (default: fits any body)", "SIZE"),
    Flag("grpc-max-send-msg-size", size, None, "largest message to Envoy (default: no limit)", "SIZE"),
    Flag(
        "max-concurrent-streams",
        count,
        10_000,
        "conversations on one connection; Envoy opens another for more (default: 10000)",
        "N",
    ),
    Flag(
        "keepalive-time",
        seconds,
        20.0,
        "silence before a connection is asked for a sign of life, and again before it is given up "
        "(default: 20s)",
        "TIME",
    ),
    Flag(
        "max-connection-idle",
        seconds,
        3600.0,
        "how long a connection may carry no conversation; http2 only (default: 1h)",
        "TIME",
    ),
)
BEHAVIOUR: Final = (
    Flag("max-request-body-bytes", size, 64 << 20, "larger request bodies get 413 (default: 64Mi)", "SIZE"),
    Flag(
        "max-gathered-body-bytes",
        size,
        1 << 30,
        "when bodies of this size are being received at once, the next gets 503 (default: 1Gi)",
        "SIZE",
    ),
    Flag(
        "refresh-metrics-interval",
        seconds,
        0.2,
        "between two readings of a busy replica (default: 200ms)",
        "TIME",
    ),
    Flag("metrics-staleness-threshold", seconds, 2.0, "older readings count no longer (default: 2s)", "TIME"),
    Flag("disable-endpoint-subset-filter", switch, False, "ignore the data plane's subset hint"),
    Flag("emit-endpoint-scores", switch, False, "show each endpoint's total in the dynamic metadata"),
    Flag("seed", int, None, "make random choices repeatable", "N"),
    Flag("v", int, 2, "log level: 2 info, 3 verbose, 4 debug, 5 trace (default: 2)", "LEVEL"),
    Flag("zap-encoder", str, "console", "log format: console or json (default: console)", "FORMAT"),
)
WITHOUT_EFFECT: Final = (
    Flag("pool-namespace", str, None, "namespace of the pool", "…"),
    Flag("pool-group", str, None, "API group of the pool", "…"),
    Flag(
        "refresh-prometheus-metrics-interval", str, None, "pool gauges are computed when they are read", "…"
    ),
    Flag("metrics-endpoint-auth", switch, True, "needs Kubernetes"),
    Flag("ha-enable-leader-election", switch, False, "needs Kubernetes"),
    Flag("enable-pprof", switch, True, "there is no profiler page"),
    Flag("enable-grpc-stream-metrics", switch, False, "not in this version"),
    Flag("tracing", switch, True, "not in this version"),
    Flag("zap-devel", switch, False, "see --zap-encoder and -v"),
    Flag("zap-log-level", str, None, "see -v", "…"),
    Flag("zap-stacktrace-level", str, None, "see -v", "…"),
    Flag("zap-time-encoding", str, None, "times are ISO 8601", "…"),
)
"""What existing deployments pass and this version does not need."""
REFUSED: Final = {
    "endpoint-selector": "needs Kubernetes, not in this version: use --endpoints or file-discovery",
    "endpoint-target-ports": "needs Kubernetes, not in this version: use --endpoints or file-discovery",
    "metrics-cert-dir": "is not in this version: metrics are served over plain HTTP",
    "metrics-client-ca-file": "is not in this version: metrics are served over plain HTTP",
    "tls-min-version": "is not in this version: TLS 1.2 and newer are served",
    "tls-cipher-suites": "is not in this version: the TLS library's own list is served",
    "total-queued-requests-metric": "has moved: use engineConfigs of the plugin core-metrics-extractor",
    "total-running-requests-metric": "has moved: use engineConfigs of the plugin core-metrics-extractor",
    "kv-cache-usage-percentage-metric": "has moved: use engineConfigs of the plugin core-metrics-extractor",
    "lora-info-metric": "has moved: use engineConfigs of the plugin core-metrics-extractor",
    "cache-info-metric": "has moved: use engineConfigs of the plugin core-metrics-extractor",
}
"""What would be unsafe to ignore: each ends the start with a word of advice."""


def parser() -> argparse.ArgumentParser:
    """All flags, grouped as `--help` shows them."""
    whole = ArgumentParser(
        prog="endpoint-picker",
        description="Picks the model replica that serves each request: an ext_proc server for Envoy.",
        usage="endpoint-picker [options]\n       endpoint-picker {check,plugins,sidecar} --help",
        epilog="Name the replicas with --endpoints, or with the plugin file-discovery in the configuration. "
        "`endpoint-picker check` validates configurations without serving, and `endpoint-picker plugins` "
        "lists what they can name. `endpoint-picker sidecar` is the proxy of a decode pod that has prompts "
        "computed elsewhere.",
        allow_abbrev=False,
    )
    whole.commands = COMMANDS.keys()
    whole.add_argument("--version", action="version", version=__version__)
    for title, flags in {
        "what to serve": POOL,
        "where to serve": SERVING,
        "how to serve": BEHAVIOUR,
        "accepted for existing deployments, without effect here": WITHOUT_EFFECT,
    }.items():
        group = whole.add_argument_group(title)
        for flag in flags:
            _add(group, flag)
    for name in REFUSED:
        whole.add_argument(f"--{name}", help=argparse.SUPPRESS)
    return whole


def _add(group: Any, flag: Flag) -> None:
    names = [f"--{flag.name}", *(["-v"] if flag.name == "v" else [])]
    if flag.type is switch:
        group.add_argument(
            *names, type=switch, default=flag.default, nargs="?", const=True, metavar="BOOL", help=flag.help
        )
    else:
        group.add_argument(*names, type=flag.type, default=flag.default, metavar=flag.metavar, help=flag.help)


def options(flags: argparse.Namespace) -> Options:
    """The flags, checked together. Raises ConfigError."""
    for name, why in REFUSED.items():
        if getattr(flags, name.replace("-", "_")) is not None:
            raise ConfigError(f"--{name} {why}")
    if flags.config_file and flags.config_text:
        raise ConfigError("--config-file and --config-text exclude each other: give one of them")
    if flags.enable_cert_reload and not flags.cert_path:
        raise ConfigError("--enable-cert-reload needs --cert-path")
    return Options(
        config_file=Path(flags.config_file) if flags.config_file else None,
        config_text=flags.config_text,
        endpoints=flags.endpoints,
        pool=flags.pool_name,
        transport=flags.transport,
        grpc_port=flags.grpc_port,
        health_port=flags.grpc_health_port,
        metrics_port=flags.metrics_port,
        secure=flags.secure_serving,
        cert_path=Path(flags.cert_path) if flags.cert_path else None,
        cert_reload=flags.enable_cert_reload,
        health_on_grpc_port=flags.health_checking,
        max_request_body=flags.max_request_body_bytes,
        max_gathered=flags.max_gathered_body_bytes,
        max_receive=flags.grpc_max_recv_msg_size,
        max_send=flags.grpc_max_send_msg_size,
        max_streams=flags.max_concurrent_streams,
        keepalive=flags.keepalive_time,
        max_idle=flags.max_connection_idle,
        refresh_interval=max(SHORTEST_REFRESH, flags.refresh_metrics_interval),
        staleness=flags.metrics_staleness_threshold,
        drain=flags.drain_timeout,
        allow_experimental=flags.allow_experimental_plugins,
        lenient=flags.lenient,
        honour_subset=not flags.disable_endpoint_subset_filter,
        emit_scores=flags.emit_endpoint_scores,
        seed=flags.seed,
    )
