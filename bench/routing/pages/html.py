"""Elements of HTML. Whatever is no `Markup` is escaped."""

from collections.abc import Iterable
from html import escape


class Markup(str):
    """Text that is HTML."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str) -> Markup:
    """`class_` is the attribute `class`."""
    told = "".join(f' {name.rstrip("_")}="{escape(value)}"' for name, value in attributes.items())
    return Markup(f"<{tag}{told}>{join(children)}</{tag}>")


def join(parts: Iterable[str]) -> Markup:
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in parts))


def paragraphs(texts: Iterable[str]) -> Markup:
    return join(element("p", text) for text in texts)


def items(texts: Iterable[str]) -> Markup:
    return element("ul", *(element("li", text) for text in texts))


def table(head: Iterable[str], rows: Iterable[tuple[str, Iterable[str]]]) -> Markup:
    """Rows are (class, cells); the first cell of each names it."""
    header = element("thead", element("tr", *(element("th", cell) for cell in head)))
    return element("table", header, element("tbody", *(_row(kind, cells) for kind, cells in rows)))


def _row(kind: str, cells: Iterable[str]) -> Markup:
    first, *rest = cells
    return element("tr", element("th", first), *(element("td", cell) for cell in rest), class_=kind)
