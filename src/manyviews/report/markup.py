"""HTML by construction: whatever is not marked as HTML is escaped."""

import html
import json
from collections.abc import Iterable
from typing import Any

VOID = frozenset({"img", "meta", "link", "br"})


class Markup(str):
    """Text that is HTML already. Everything else is somebody's data and is escaped on its way in."""

    __slots__ = ()


Child = str | Markup | None | Iterable["Child"]


def el(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """One element. ``class_`` becomes ``class``, ``aria_label`` becomes ``aria-label``.

    An attribute that is ``None`` or ``False`` is left out; ``True`` stands bare.
    """
    written = "".join(attribute(key, value) for key, value in attributes.items())
    if name in VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{text(children)}</{name}>")


def attribute(key: str, value: str | int | float | bool | None) -> str:
    """`` key="value"`` with a leading space, or nothing."""
    if value is None or value is False:
        return ""
    key = key.rstrip("_").replace("_", "-")
    return f" {key}" if value is True else f' {key}="{html.escape(str(value))}"'


def text(child: Child) -> Markup:
    """Escape text, keep markup, join whatever is nested, drop ``None``."""
    if child is None:
        return Markup("")
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return Markup(html.escape(child))
    return Markup("".join(text(part) for part in child))


def capital(words: str) -> str:
    """The words as they begin a sentence; names inside them stay as they are."""
    return words[:1].upper() + words[1:]


def data(value: Any, **attributes: str) -> Markup:
    """A block of JSON for the page's script. No ``<`` survives, so no text in it can close the block."""
    written = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return el("script", Markup(written.replace("<", "\\u003c")), type="application/json", **attributes)
