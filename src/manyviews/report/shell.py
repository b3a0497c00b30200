"""The shell of every page: one HTML file that needs nothing else and loads nothing.

Its content security policy forbids every request, and every script but its own (by digest), so a file name or
a class name cannot act even if it were to slip through unescaped.
"""

import base64
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from manyviews.report.markup import Markup, capital, el
from manyviews.report.numbers import DASH


def document(title: str, subtitle: str, lead: Markup | None, sections: Sequence[Markup | None]) -> str:
    """The shell that every page shares: masthead, sections, one style, one script."""
    script, style = _asset("page.js"), _asset("page.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", title),
        el("link", rel="icon", href="data:,"),
        el("style", Markup(style)),
    )
    masthead = el(
        "header",
        el("p", "Manyviews", class_="kicker"),
        el("h1", title),
        el("p", subtitle, class_="deck") if subtitle else None,
        lead,
    )
    body = el("body", el("main", masthead, sections), el("script", Markup(script)))
    whole = f"<!DOCTYPE html>\n{el('html', head, body, lang='en')}\n"
    # A file name that is not valid UTF-8 arrives as lone surrogates, which no encoding can write.
    return whole.encode("utf-8", "replace").decode("utf-8")


def section(title: str, lead: str, *content: Markup | None) -> Markup:
    """A heading and a sentence beside what they are about."""
    side = el("div", el("h2", title), el("p", lead) if lead else None, class_="side")
    return el("section", side, el("div", content, class_="content"))


def _asset(name: str) -> str:
    return resources.files("manyviews.report").joinpath(name).read_text(encoding="utf-8")


def repeat(command: str, settings: Mapping[str, Mapping[str, Any]]) -> Markup | None:
    groups = [
        el("div", el("h3", capital(name)), el("table", el("tbody", _setting_rows(group))))
        for name, group in settings.items()
        if group
    ]
    if not command and not groups:
        return None
    copy = el("button", "Copy", type="button", class_="copy", hidden=True)
    shown = el("div", el("pre", el("code", _tokens(command))), copy, class_="command") if command else None
    folded = (
        el("details", el("summary", "Every setting"), el("div", groups, class_="settings"))
        if groups
        else None
    )
    return section("How to repeat it", "", shown, folded)


def _tokens(command: str) -> list[Markup | str]:
    """The command in pieces that stay whole, so that a line never ends between the dashes of an option."""
    return [piece if piece.isspace() else el("span", piece) for piece in re.split(r"(\s+)", command) if piece]


def _setting_rows(group: Mapping[str, Any]) -> list[Markup]:
    return [el("tr", el("th", key, scope="row"), el("td", setting(value))) for key, value in group.items()]


def setting(value: Any) -> str:
    """A setting as it would be typed: exact, never rounded; a dash where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {setting(part)}" for key, part in value.items()) or DASH
    if isinstance(value, (list, tuple, set, frozenset)):
        parts = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
        return ", ".join(setting(part) for part in parts) or DASH
    return str(value)
