"""The gevent pool needs Python's modules replaced before anything else is imported.

``celery -P gevent`` sees to that itself. ``flask jobs worker --pool gevent`` has an app loaded by the time it
knows, so it begins anew in the same process.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any

from ...errors import ConfigurationError


def ensure_patched() -> None:
    """Return if gevent has replaced what it replaces; else run this command again under ``gevent.monkey``.

    Raises ``ConfigurationError`` if gevent is not installed.
    """
    if importlib.util.find_spec("gevent") is None:
        raise ConfigurationError("--pool", "gevent", "gevent is not installed: pip install gevent")
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("socket"):
        os.execv(sys.executable, [sys.executable, "-m", "gevent.monkey", *_command()])  # noqa: S606 - ourselves


def _command() -> list[str]:
    """What was called: ``python -m flask …`` or a script."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None:
        return list(sys.argv)
    return ["--module", spec.name.removesuffix(".__main__"), *sys.argv[1:]]
