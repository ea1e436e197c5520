"""The command's flags."""

import argparse
import os
from pathlib import Path
from typing import Any

from bench import results
from bench.fleet import workloads
from bench.fleet.__main__ import TRACES
from bench.fleet.outcome import Objective
from bench.load.sending import Pace
from bench.load.target import Target, Unfit, address, header
from bench.load.texts import PATHS

_PACE = Pace()


def parser(description: str | None) -> argparse.ArgumentParser:
    """All flags. Those of `bench.fleet` mean the same, but for `--speed`, which is its engines' there."""
    flags = argparse.ArgumentParser(
        prog="python -m bench.load",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_argument("url", metavar="URL", help="the server's base, like http://127.0.0.1:8081")
    _workload(flags.add_argument_group("workload"))
    _server(flags.add_argument_group("server"))
    _bounds(flags.add_argument_group("bounds"))
    _report(flags.add_argument_group("report"))
    return flags


def _workload(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--workload", default="chat", choices=workloads.WORKLOADS, help="who asks what (%(default)s)")
    add("--rate", type=float, default=1.0, metavar="R", help="requests a second, on average (%(default)g)")
    add("--requests", type=int, default=100, metavar="N", help="how many in all (%(default)s)")
    add("--seed", type=int, default=1, metavar="N", help="of the workload (%(default)s)")
    add(
        "--speed",
        type=float,
        default=_PACE.speed,
        metavar="X",
        help="how many times as fast its times pass, thinking times as well as --rate (%(default)g)",
    )
    add("--trace", type=Path, default=TRACES, metavar="DIR", help="where traces are (%(default)s)")
    add(
        "--token-bytes",
        type=int,
        default=_PACE.token_bytes,
        metavar="N",
        help="text for a token of a prompt (%(default)s). Real tokenizers take less of it for one: compare "
        "what is planned with what the server counts",
    )


def _server(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--api", default="completions", choices=PATHS, help="%(default)s")
    add("--model", default="", metavar="NAME", help="what to ask for (the first that GET /v1/models lists)")
    add(
        "--header",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="of every request; may be repeated",
    )
    add("--api-key-env", metavar="NAME", help="variable of the environment that has the key of the API")
    add(
        "--ignore-eos",
        action="store_true",
        help="have answers as long as the workload says; vLLM knows the field, others may refuse it",
    )


def _bounds(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--timeout", type=float, default=_PACE.timeout, metavar="S", help="for a whole answer (%(default)g)")
    add(
        "--max-tokens",
        type=int,
        default=_PACE.max_tokens,
        metavar="N",
        help="of an answer at most (as the workload has it)",
    )
    add(
        "--concurrency",
        type=int,
        default=_PACE.concurrency,
        metavar="N",
        help="requests in flight at most; what is due beyond is not sent, and counted so (%(default)s)",
    )


def _report(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--warmup", type=float, default=0.0, metavar="S", help="at the start not to count (%(default)g)")
    add("--ttft", type=float, default=2.0, metavar="S", help="time to first token that is good (%(default)g)")
    add("--tpot", type=float, default=50.0, metavar="MS", help="time per token that is good (%(default)g)")
    add(
        "--into",
        type=Path,
        default=results.FOLDER,
        metavar="DIR",
        help="where load.json goes (%(default)s)",
    )


def target(args: argparse.Namespace) -> Target:
    """Raises Unfit."""
    headers = dict(header(each) for each in args.header)
    if args.api_key_env:
        key = os.environ.get(args.api_key_env, "")
        if not key:
            raise Unfit(f"the environment has no variable {args.api_key_env}, or an empty one")
        headers |= dict([header(f"authorization: Bearer {key}")])
    extra: dict[str, Any] = {"ignore_eos": True} if args.ignore_eos else {}
    return Target(base=address(args.url), api=args.api, model=args.model, headers=headers, extra=extra)


def pace(args: argparse.Namespace) -> Pace:
    """Raises Unfit."""
    for name, least in (("speed", 0.0), ("timeout", 0.0)):
        if not getattr(args, name) > least:
            raise Unfit(f"--{name} is {getattr(args, name)}; it must be more than {least:g}")
    for name, fewest in (("concurrency", 1), ("token_bytes", 1), ("max_tokens", 0)):
        if getattr(args, name) < fewest:
            flag = name.replace("_", "-")
            raise Unfit(f"--{flag} is {getattr(args, name)}; it must be {fewest} or more")
    return Pace(
        speed=args.speed,
        concurrency=args.concurrency,
        max_tokens=args.max_tokens,
        token_bytes=args.token_bytes,
        timeout=args.timeout,
    )


def objective(args: argparse.Namespace) -> Objective:
    return Objective(ttft=args.ttft, tpot=args.tpot / 1e3)
