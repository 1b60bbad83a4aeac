"""Compare the seams (``compat/seams.py``) with the libraries that are installed: ``seams.py [--update]``.

Prints what has changed, with what we use it for; exit code 1 if anything has. ``--update`` takes what is installed now
as checked: read first what has changed. The package itself is not imported, because a changed library may prevent that.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

COMPAT = Path(__file__).parent.parent / "src" / "flask_nightshift" / "compat"


def load() -> Any:
    """``compat.check``, without ``flask_nightshift`` around it."""
    spec = importlib.util.spec_from_file_location("compat", COMPAT / "__init__.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(COMPAT)
    sys.modules["compat"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return importlib.import_module("compat.check")


def main(arguments: list[str]) -> int:
    """Compare, or update; returns the exit code."""
    check = load()
    if arguments == ["--update"]:
        check.RECORD.write_text(json.dumps(asdict(check.measure()), indent=1, sort_keys=True) + "\n")
        print(f"{check.RECORD.name} says now what is installed.")  # noqa: T201 - the command's own output
        return 0
    if arguments:
        sys.exit(__doc__)
    changed = check.differing()
    for line in [*changed, *check.unchecked()]:
        print(line)  # noqa: T201
    print(f"{len(changed)} of {len(check.SEAMS)} seams have changed.")  # noqa: T201
    return int(bool(changed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
