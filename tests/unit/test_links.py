"""Links between the Markdown files lead to files and headings that exist, as GitHub resolves them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from markdown_pages import pages
from places import ROOT

_CODE = re.compile(r"^( *)(```+|~~~+).*?^ *\2[^\n]*$|`[^`\n]*`", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
_FENCED = re.compile(r"^( *)(```+|~~~+).*?^ *\2[^\n]*$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", pages())
def test_the_links_of_a_page(page: str) -> None:
    text = _CODE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    broken = [link for link in _LINK.findall(text) if not leads_somewhere(ROOT / page, link)]
    assert broken == []


def test_every_page_of_the_docs_is_reached_from_another() -> None:
    """On GitHub, where the docs site's table of contents does not help."""
    reached = {
        (ROOT / page).parent.joinpath(link.partition("#")[0]).resolve()
        for page in pages()
        for link in _LINK.findall((ROOT / page).read_text(encoding="utf-8"))
        if ":" not in link
    }
    docs = {ROOT / page for page in pages() if page.startswith("docs/")} - {ROOT / "docs/index.md"}
    assert {page for page in docs if page not in reached} == set()


def leads_somewhere(page: Path, link: str) -> bool:
    if re.match(r"[a-z]+:", link):
        return True  # another site
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    return not anchor or anchor in anchors(target)


@cache
def anchors(page: Path) -> set[str]:
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    found: dict[str, int] = {}
    for heading in _HEADING.findall(text):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).lower()).replace(" ", "-")
        found[slug] = found.get(slug, 0) + 1
    return {
        f"{slug}-{number}" if number else slug for slug, count in found.items() for number in range(count)
    }
