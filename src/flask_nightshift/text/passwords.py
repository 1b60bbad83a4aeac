"""Hide passwords in URLs, in connection strings and in ``password=...`` before people see the text.

When in doubt, hide too much rather than too little. Each function reads its text a constant number of times, because
anybody can cause a long text to be logged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

HIDDEN = "***"
_WORTH_A_LOOK = re.compile(r"://|passw|passphrase|pwd|[?&](?:\w*token|secret|api_?key|sig)=", re.IGNORECASE)
_SECRET = re.compile(r"passwor[dt]|passwd|passphrase|^pwd", re.IGNORECASE)
_USER = re.compile(r"""[^:/?#\[\s"'<>]*:""")
"""Up to the colon before a password."""
_PORT = re.compile(r"""\d{0,5}(?:[/?#\s,;)'"\]}>]|\.\s|\.?$)""")
_WORD = re.compile(r"""[^\s"'<>]*""")
_LINE = re.compile(r"[^\n\r]*")
_SCHEME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-_")
_NAMED = re.compile(
    r"""((?:passwor[dt]|passwd|passphrase|pwd)(?:[ \t]*=|["'][ \t]*[=:])[ \t]*|[?&](?:\w*token|secret|api_?key|sig)=)"""
    r"""("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[^\s"'&;,#)}\]]+)""",
    re.IGNORECASE,
)


def hide_password(text: str) -> str:
    """``text`` with ``***`` in place of the password of every URL, and of every value of ``password=`` and the like."""
    if _WORTH_A_LOOK.search(text) is None:
        return text
    if "://" in text:
        text = "".join(_without_passwords(text))
    return _NAMED.sub(_named, text)


def is_secret(name: object) -> bool:
    """Whether a value called ``name`` is a password."""
    return isinstance(name, str) and _SECRET.search(name) is not None


def refused_url(value: object) -> object:
    """How an error shows a value that is not the URL it should be: without anything that could be a password."""
    if not isinstance(value, str):
        return (
            value if value is None or isinstance(value, (bool, int, float)) else f"<{type(value).__name__}>"
        )
    before, at, after = hide_password(value).rpartition("@")
    if not at:
        return after
    scheme, slashes, rest = before.rpartition("://")
    user, colon, _ = rest.partition(":")
    return f"{scheme}{slashes}{user}{colon and colon + HIDDEN}{at}{after}"


def _named(found: re.Match[str]) -> str:
    value = found[2]
    quote = value[0] if value[0] in "\"'" else ""
    return f"{found[1]}{quote}{HIDDEN}{quote}"


def _without_passwords(text: str) -> Iterator[str]:
    """The parts of ``text``. Each URL ends at the next one at the latest, so that no part is read twice."""
    at = 0
    while (colon := text.find("://", at)) >= 0:
        begin = colon + 3
        end = _begin_of_scheme(text, text.find("://", begin), begin)
        yield text[at:begin]
        yield _hidden(text[begin:end])
        at = end
    yield text[at:]


def _begin_of_scheme(text: str, colon: int, least: int) -> int:
    """The start of the scheme of the URL whose ``://`` is at ``colon``; the end of the text if there is none."""
    if colon < 0:
        return len(text)
    while colon > least and text[colon - 1] in _SCHEME_CHARACTERS:
        colon -= 1
    return colon


def _hidden(rest: str) -> str:
    """The text after a ``://``, up to the next URL, without its password."""
    user = _USER.match(rest)
    if user is None or _PORT.match(rest, user.end()):
        return rest
    begin = user.end()
    for reach in (_WORD, _LINE):  # a password that contains a space or a quote ends later
        found = reach.match(rest, begin)
        last = found[0].rfind("@") if found else -1
        if last >= 0:
            return rest[:begin] + HIDDEN + rest[begin + last :]
    return rest


__all__ = ["HIDDEN", "hide_password", "is_secret", "refused_url"]
