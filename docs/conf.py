"""Settings of the site: `make docs` builds it from the repository's Markdown pages.

Sphinx wants a table of contents in its own language. The tables of an index are one already, so
they are handed to it in that language when it reads them.
"""

import re

project = "nnclip"
extensions = ["myst_parser"]
root_doc = "docs/README"
include_patterns = ["docs/**", "*.md", "assets/*.md", "benchmarks/results/*.md"]
exclude_patterns = ["docs/notebooks", ".*", "build", "nnclip", "tests", "README.md"]
html_theme = "furo"
html_title = "nnclip"
html_show_copyright = False
html_copy_source = False
myst_heading_anchors = 4  # headings can be linked to, as in every other reader of Markdown

INDEXES = ("docs/README", "docs/decisions/README")
TABLE = re.compile(r"^\|([^|\n]*)\|.*\n\|-.*\n((?:\|.*\n)+)", re.MULTILINE)
LINK = re.compile(r"\]\(([\w./-]+\.md)\)")


def add_contents(app, page, source):
    """Append what each table of an index links to, as contents under the table's title."""
    if page not in INDEXES:
        return
    for title, rows in TABLE.findall(source[0] + "\n"):
        linked = "\n".join(dict.fromkeys(LINK.findall(rows)))
        caption = f":caption: {title.strip()}\n" if title.strip() else ""
        source[0] += f"\n```{{toctree}}\n:hidden:\n{caption}\n{linked}\n```\n"


def setup(app):
    """Have `add_contents` called with every page."""
    app.connect("source-read", add_contents)
