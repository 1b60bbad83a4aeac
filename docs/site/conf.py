"""Sphinx's settings for ``make docs``. The sources are the Markdown files of the project, which GitHub shows, too."""

from __future__ import annotations

import logging

logging.getLogger("alembic").setLevel(logging.WARNING)  # autodoc imports it, and Sphinx shows what is logged

project = "Flask-Nightshift"
html_title = "Flask-Nightshift"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "tests/README.md"]
exclude_patterns = [
    ".*",
    "benchmarks",
    "build",
    "dist",
    "docker",
    "docs/site",
    "examples",
    "scripts",
    "src",
    "tests/[a-z]*",
]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4  # the anchors that GitHub gives to headings

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
add_module_names = False

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["nightshift.css"]
html_js_files = ["nightshift.js"]
html_extra_path = ["extra"]  # index.html leads to the first page
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#2f4b8f", "color-brand-content": "#2f4b8f"},
    "dark_css_variables": {"color-brand-primary": "#9db7f5", "color-brand-content": "#9db7f5"},
}
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
copybutton_prompt_text = "$ "
