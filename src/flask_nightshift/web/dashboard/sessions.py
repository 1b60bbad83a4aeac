"""One-time links and the session that they open, as signed texts; and the token of forms.

A link is for an operator with a shell on this system: ``flask jobs dashboard`` prints one. Its session lasts twelve
hours. Both are signed with the app's ``SECRET_KEY``. ``SECRET_KEY_FALLBACKS`` are accepted, too.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from itsdangerous import BadData, URLSafeTimedSerializer

LINK_SECONDS = 900
"""Seconds for which a link can be used."""
SESSION_SECONDS = 12 * 3600
"""Seconds for which a session lasts."""
SAID_SECONDS = 60
"""Seconds within which a message to the reader is shown."""
LINK, SESSION, SAID = "link", "session", "said"
"""What a signed text is for."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The secret keys of an app, the oldest first; a text is signed with the last."""

    keys: tuple[bytes, ...]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Keys | None:
        """The keys in the configuration of an app; None without ``SECRET_KEY``."""
        if not (secret := config.get("SECRET_KEY")):
            return None
        given = (*reversed(config.get("SECRET_KEY_FALLBACKS") or ()), secret)
        return cls(tuple(key if isinstance(key, bytes) else str(key).encode() for key in given))

    def sign(self, what: str, value: Any) -> str:
        """``value`` (plain JSON) as a signed text for ``what``."""
        return str(self._serializer(what).dumps(value))

    def read(self, what: str, text: str, seconds: float) -> Any:
        """What ``sign`` was given; None if the text is not ours, or older than ``seconds``."""
        try:
            return self._serializer(what).loads(text, max_age=int(seconds))
        except BadData:
            return None

    def form_token(self, visitor: str, name: str) -> str:
        """The token of the forms that the actor ``name`` gets in the browser with the cookie ``visitor``."""
        return self._form_token(self.keys[-1], visitor, name)

    def takes(self, token: str, visitor: str, name: str) -> bool:
        """Whether ``token`` is the one of these forms."""
        given = token.encode()
        return any(
            hmac.compare_digest(given, self._form_token(key, visitor, name).encode()) for key in self.keys
        )

    def _serializer(self, what: str) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(
            list(self.keys),
            salt=f"flask-nightshift dashboard {what}",
            signer_kwargs={"key_derivation": "hmac", "digest_method": sha256},
        )

    @staticmethod
    def _form_token(key: bytes, visitor: str, name: str) -> str:
        about = f"flask-nightshift dashboard form\0{visitor}\0{name}".encode("utf-8", "surrogatepass")
        return hmac.new(key, about, sha256).hexdigest()


def new_visitor() -> str:
    """A new value of the cookie that forms are bound to."""
    return secrets.token_urlsafe(18)


def new_link(keys: Keys, name: str) -> str:
    """The text of a one-time link for ``name``."""
    return keys.sign(LINK, {"id": secrets.token_urlsafe(12), "name": name})


__all__ = [
    "LINK",
    "LINK_SECONDS",
    "SAID",
    "SAID_SECONDS",
    "SESSION",
    "SESSION_SECONDS",
    "Keys",
    "new_link",
    "new_visitor",
]
