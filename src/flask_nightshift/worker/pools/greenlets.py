"""The gevent pool needs Python's modules monkey-patched before any other import.

``celery -P gevent`` patches them itself. ``flask jobs worker --pool gevent`` has loaded the app before it reads the
option, so it executes itself again, in the same process, under ``gevent.monkey``.
"""

from __future__ import annotations

import importlib.util
import os
import sys

from ...errors import ConfigurationError
from ...lifetime.greenlets import patched
from .support import Support


def ensure_patched() -> None:
    """Return if gevent has patched Python's modules; otherwise execute this command again under ``gevent.monkey``.

    Raises ``ConfigurationError`` if gevent is not installed.
    """
    if importlib.util.find_spec("gevent") is None:
        raise ConfigurationError("--pool", "gevent", "gevent is not installed: pip install gevent")
    if not patched():
        os.execv(sys.executable, [sys.executable, "-m", "gevent.monkey", *_command()])  # noqa: S606 - ourselves


def _command() -> list[str]:
    """The command line of this process: ``python -m flask …`` or a script."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None:
        return list(sys.argv)
    return ["--module", spec.name.removesuffix(".__main__"), *sys.argv[1:]]


SUPPORT = Support(f"{__package__}.greenlet_pool:JobGreenlets", prepare_process=ensure_patched)
