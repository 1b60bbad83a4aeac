"""The Markdown files of the project, as Git knows them."""

from __future__ import annotations

import subprocess

from places import ROOT


def pages() -> list[str]:
    """Their paths from the project's folder, also of those that are not committed yet."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [page for page in listed.stdout.split() if (ROOT / page).is_file()]
