"""`endpoint-picker plugins`: the catalog for people, for programs, and for the page `docs/plugins.md`."""

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from endpoint_picker import catalog
from endpoint_picker.commands import yamltext
from endpoint_picker.commands.arguments import ArgumentParser
from endpoint_picker.commands.described import Described, Parameter, described
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.plugin import Plugin

HEAD: Final = """\
# Plugins

What `plugins[].type` of a [configuration](configuration.md) may be, and its `parameters`. `make docs` writes
this page from the code; `endpoint-picker plugins` prints the same, with the plugins of other packages.

Plugins of stability alpha need `--allow-experimental-plugins`. A plugin that takes no parameters ignores what
is written there; everywhere else an unknown key ends the start. Keys of mappings are joined with dots here,
and `[]` stands for each item of a list.
"""

Row = tuple[str, ...]


def parser() -> ArgumentParser:
    whole = ArgumentParser(
        prog="endpoint-picker plugins",
        description="Lists the plugins that a configuration can name: kind, stability, parameters with their "
        "defaults, and what each is for. Plugins of installed packages are among them.",
        allow_abbrev=False,
    )
    whole.add_argument(
        "types", nargs="*", metavar="TYPE", help="tell all about these types (default: all, short)"
    )
    form = whole.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for programs")
    form.add_argument(
        "--markdown",
        action="store_true",
        help="the text of docs/plugins.md, without plugins of other packages",
    )
    return whole


def run(arguments: Sequence[str]) -> int:
    """Print, and answer the exit code."""
    flags = parser().parse_args(arguments)
    if flags.markdown:
        print(markdown(catalog.TABLE), end="")
        return 0
    found = catalog.installed()
    try:
        chosen = [found.named(each, "endpoint-picker plugins") for each in flags.types]
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    listed = _sorted(chosen or found.classes.values())
    if flags.json:
        print(json.dumps([dataclasses.asdict(each) for each in listed], indent=2, ensure_ascii=False))
    elif chosen:
        print("\n\n".join(in_full(each) for each in listed))
    else:
        print("\n".join(table(listed)))
    return 0


def _sorted(classes: Iterable[type[Plugin]]) -> list[Described]:
    """By kind, then as the catalog has them."""
    return sorted(map(described, classes), key=lambda each: each.kind)


# === for people ===


def table(listed: Iterable[Described]) -> list[str]:
    """One line for each type."""
    rows = [(each.type, each.kind, each.stability, _in_short(each)) for each in listed]
    return columns(("TYPE", "KIND", "STABILITY", "DOES"), rows)


def in_full(each: Described) -> str:
    """All that is known of one type."""
    lines = [f"{each.type} ({each.kind}, {each.stability})", f"  {_in_short(each)}"]
    if each.other_names:
        lines.append(f"  Old names: {', '.join(each.other_names)}")
    if not each.parameters:
        return "\n".join([*lines, "  It takes no parameters."])
    rows = [(p.name, p.type, _default(p), p.says) for p in each.parameters]
    return "\n".join([*lines, "", *(f"  {row}" for row in columns(("PARAMETER", "IS", "DEFAULT", ""), rows))])


def columns(head: Row, rows: Sequence[Row]) -> list[str]:
    """Rows of texts, each column as wide as its widest; the last one as it is."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    widths[-1] = 0
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]


def _in_short(each: Described) -> str:
    return f"{each.does} Deprecated: write {each.instead}." if each.instead else each.does


def _default(parameter: Parameter) -> str:
    return "(required)" if parameter.required else yamltext.inline(parameter.default)


# === for the page ===


def markdown(table: Mapping[str, type[Plugin]]) -> str:
    """The page: kinds in alphabetical order, types in that of the catalog."""
    listed = _sorted(table.values())
    parts = [HEAD]
    for kind in dict.fromkeys(each.kind for each in listed):
        chosen = [each for each in listed if each.kind == kind]
        parts.append(f"## {kind[0].upper()}{kind[1:]}\n")
        parts.append(_table(("type", "stability", "what it does"), map(_type_row, chosen)))
        parts.extend(_section(each) for each in chosen if each.parameters)
    later = ", ".join(f"`{name}`" for name in sorted(catalog.LATER))
    return "\n".join([*parts, f"## Not in this version\n\nThe field knows these types too: {later}.\n"])


def _type_row(each: Described) -> Row:
    old = f" (old: {', '.join(f'`{name}`' for name in each.other_names)})" if each.other_names else ""
    return f"`{each.type}`{old}", each.stability, _in_short(each)


def _section(each: Described) -> str:
    rows = ((f"`{p.name}`", p.type, _marked(p), p.says) for p in each.parameters)
    return f"### {each.type}\n\n{_table(('parameter', 'is', 'default', ''), rows)}"


def _marked(parameter: Parameter) -> str:
    return "required" if parameter.required else f"`{_default(parameter)}`"


def _table(head: Row, rows: Iterable[Row]) -> str:
    lines = (head, ("---",) * len(head), *rows)
    cells = (" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines)
    return "".join(f"| {line} |\n" for line in cells)
