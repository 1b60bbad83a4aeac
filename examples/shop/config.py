"""The shop's configuration: each key can be set as an environment variable of the same name.

The extension itself reads ``NIGHTSHIFT_*``. Here are only the shop's defaults for it, used where the environment sets
nothing.
"""

from __future__ import annotations

import json
import os
from typing import Any

DEFAULTS: dict[str, Any] = {
    "SQLALCHEMY_DATABASE_URI": "sqlite:///shop.sqlite3",  # in the instance folder
    "SHOP_PUBLIC_URL": "http://127.0.0.1:8000",  # the beginning of links in mails
    "SHOP_MAIL_FROM": "The Night Shop <hello@nightshop.example>",
    "SHOP_SMTP_HOST": "127.0.0.1",
    "SHOP_SMTP_PORT": 1025,
    "SHOP_SMTP_STARTTLS": False,
    "SHOP_SMTP_USER": "",
    "SHOP_SMTP_PASSWORD": "",
    "SHOP_SMTP_TIMEOUT": 10.0,  # seconds
    "SHOP_MAX_PHOTO_BYTES": 8 * 1024 * 1024,
    "SHOP_MAX_PHOTO_PIXELS": 40_000_000,  # of a PNG: 200 MB decoded; less for other formats (images.BYTES)
    "SHOP_HOOK_TIMEOUT": 10.0,  # seconds, for a whole call
    "SHOP_HOOK_MAX_WAIT": 3600.0,  # seconds: the longest Retry-After that we honour
    "SHOP_ALLOW_PRIVATE_HOOKS": False,  # only for a partner on your own machine
    "SHOP_SESSION_HOURS": 48.0,
    "SHOP_SIGNUPS_PER_HOUR": 5,  # per address; also the number of its links that are valid at once
    "SHOP_KEEP_DELIVERIES_DAYS": 30.0,
    "SHOP_MAILBOX_URL": "",  # the page links to it
    "SHOP_PARTNER_URL": "",  # a partner to try hooks with; the page shows it
}

NIGHTSHIFT_DEFAULTS: dict[str, Any] = {
    "NIGHTSHIFT_SCHEDULE": {"nightly clean-up": {"task": "shop.clean_up", "schedule": "0 3 * * *"}},
}


FIXED: dict[str, Any] = {
    # so that errors and logs do not show a statement's values: addresses, payloads, partners' secret URLs
    "SQLALCHEMY_ENGINE_OPTIONS": {"hide_parameters": True},
}


def from_environment() -> dict[str, Any]:
    """The configuration: the defaults, overridden by the environment."""
    config = FIXED | {key: _read(key, default) for key, default in DEFAULTS.items()}
    # app.config takes precedence over the environment, so leave out keys that the environment sets
    config |= {key: value for key, value in NIGHTSHIFT_DEFAULTS.items() if key not in os.environ}
    return config


def _read(key: str, default: Any) -> Any:
    text = os.environ.get(key)
    if not text:
        return default
    if isinstance(default, bool):
        if text.lower() not in {"0", "1", "false", "true", "no", "yes"}:
            raise ValueError(f"{key} = {text!r}: give 1 or 0")
        return text.lower() in {"1", "true", "yes"}
    try:
        return type(default)(text)
    except ValueError:
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise ValueError(f"{key} = {text!r}: give {kind}, such as {json.dumps(default)}") from None
