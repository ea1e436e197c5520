"""`endpoint-picker check`: is a configuration good, what does it amount to, what would another one change.

The plugins are made as they are for serving, so whatever would end a start is found here; nothing is
fetched, bound or served.
"""

import logging
import random
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from endpoint_picker.assemble import Assembly, assemble
from endpoint_picker.commands import difference, effective
from endpoint_picker.commands.arguments import ArgumentParser
from endpoint_picker.config import load
from endpoint_picker.config.schema import Config
from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Wiring

STANDARD_INPUT: Final = "-"


@dataclass(frozen=True, slots=True)
class Checked:
    """A configuration that is good."""

    config: Config
    assembly: Assembly


def parser() -> ArgumentParser:
    whole = ArgumentParser(
        prog="endpoint-picker check",
        usage="endpoint-picker check [options] FILE…\n       endpoint-picker check [options] --diff OLD NEW",
        description="Validates configurations without serving. Prints what each amounts to: every plugin, "
        "those that are added included, with every parameter. The output is a configuration again.",
        epilog="Mistakes go to standard error as FILE:LINE: …, and the exit code is 1 then, else 0 (also "
        "where --diff finds changes). An empty FILE means what it means to the reference: "
        "queue 2, KV cache 2, prefix 3.",
        allow_abbrev=False,
    )
    whole.add_argument(
        "files", nargs="*", metavar="FILE", help="an EndpointPickerConfig; - is standard input"
    )
    whole.add_argument(
        "--diff", nargs=2, metavar=("OLD", "NEW"), help="show what changes with NEW in the place of OLD"
    )
    whole.add_argument("-q", "--quiet", action="store_true", help="one line for each FILE, nothing else")
    whole.add_argument("--lenient", action="store_true", help="unknown keys are warned of, and no mistakes")
    whole.add_argument(
        "--allow-experimental-plugins", action="store_true", help="plugins of alpha stability are no mistakes"
    )
    return whole


def run(arguments: Sequence[str]) -> int:
    """Check, print, and answer the exit code."""
    whole = parser()
    flags = whole.parse_args(arguments)
    if bool(flags.files) == bool(flags.diff):
        whole.error("name a FILE, or --diff OLD NEW")
    with _warnings_told():
        if flags.diff:
            return _compare(flags)
        found = [_check(name, flags) for name in flags.files]
        _print([each for each in found if each is not None], quiet=flags.quiet)
        return int(None in found)


def _check(name: str, flags: Namespace) -> Checked | None:
    """None where the configuration is wrong, which has been told then."""
    try:
        return checked(name, lenient=flags.lenient, allow_experimental=flags.allow_experimental_plugins)
    except ConfigError as error:
        print(error, file=sys.stderr)
        print(f"{_title(name)}: invalid", file=sys.stderr)
        return None


def checked(name: str, *, lenient: bool = False, allow_experimental: bool = False) -> Checked:
    """The configuration in a file, or on standard input. Raises ConfigError."""
    if name == STANDARD_INPUT:
        config = load.load(sys.stdin.buffer.read(), _title(name), lenient=lenient)
    else:
        config = load.load_file(Path(name), lenient=lenient)
    wiring = Wiring(EndpointTable(), Metrics(), random.Random(0), lambda: 0.0)
    return Checked(config, assemble(config, wiring, allow_experimental=allow_experimental))


def summary(found: Checked) -> str:
    """One line about a good configuration."""
    plugins = len(found.assembly.instances)
    added = plugins - len(found.config.plugins)
    profiles = ", ".join(found.assembly.scheduler.profiles)
    return f"{found.config.source}: valid; {plugins} plugins, {added} of them added; profiles: {profiles}"


def _print(found: Sequence[Checked], *, quiet: bool) -> None:
    for position, each in enumerate(found):
        if quiet:
            print(summary(each))
            continue
        separator = "---\n" if position else ""
        text = effective.text(each.config, each.assembly)
        print(f"{separator}# {summary(each)}\n{text}", end="")


def _compare(flags: Namespace) -> int:
    before, after = (_check(name, flags) for name in flags.diff)
    if before is None or after is None:
        return 1
    old, new = (effective.document(each.config, each.assembly) for each in (before, after))
    names = before.config.source, after.config.source
    if not flags.quiet:
        print(difference.unified((old, names[0]), (new, names[1])), end="")
    print(f"{names[0]} → {names[1]}: {difference.summary(old, new)}")
    return 0


def _title(name: str) -> str:
    return "standard input" if name == STANDARD_INPUT else name


class _ToStandardError(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print(f"warning: {record.getMessage()}", file=sys.stderr)


@contextmanager
def _warnings_told() -> Iterator[None]:
    """What would be in the log at a start is told to whoever checks."""
    package = logging.getLogger(__name__.partition(".")[0])
    handler = _ToStandardError(logging.WARNING)
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
