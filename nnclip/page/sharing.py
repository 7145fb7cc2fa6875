"""Settings in the address: what the page shows can be sent to somebody as a link.

The browser keeps the address up to date while the visitor works; a page that is opened with
settings in its address begins with them, and without any with the first example.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from nnclip.page.presets import TEMPLATES, Example
from nnclip.page.search import LEAST, SearchTab
from nnclip.page.zero_shot import ZeroShotTab
from nnclip.service.model_pool import ModelPool

LONGEST = 4000  # characters of an address, which browsers and proxies let through

# what is left as it is at first stays out of the address
_KEEP = """
(...values) => {
    if (!window.nnclipBegun) return;
    const names = %(names)s, usual = %(usual)s;
    const query = new URLSearchParams(location.search);
    names.forEach((name, index) => {
        const value = (%(values)s)[index] ?? '';
        if (value && value !== usual[index]) query.set(name, value); else query.delete(name);
    });
    const link = location.pathname + (query.size ? '?' + query : '') + location.hash;
    if (link.length <= %(longest)d) history.replaceState(history.state, '', link);
}
"""
# while the page is being built its parts report themselves, and would clear the address
_BEGUN = "() => { window.nnclipBegun = true; }"
_COPY = """
() => navigator.clipboard.writeText(location.href).then(() => {
    const button = document.querySelector('#share');
    const text = button.textContent;
    button.textContent = 'Copied';
    setTimeout(() => { button.textContent = text; }, 1500);
})
"""


@dataclass(frozen=True)
class Settings:
    """What a link can carry, each a name in the query string."""

    tab: str = "zero-shot"
    categories: str = ""
    template: str = TEMPLATES[0]
    example: str = ""
    model: str = ""
    query: str = ""
    images: str = ""
    under: str = ""
    after: str = ""
    before: str = ""
    camera: str = ""
    least: float = LEAST

    @classmethod
    def of(cls, given: Mapping[str, str], usual: "Settings") -> "Settings":
        """The settings in a query string; what it lacks or what is too long stays usual."""
        known: dict[str, Any] = {
            k: given[k] for k in cls.__annotations__ if 0 < len(given.get(k, "")) <= LONGEST
        }
        if "least" in known:
            known["least"] = _cosine(known["least"])
        return replace(usual, **known)


def _cosine(text: str) -> float:
    """The number in a text; LEAST if it is none that a cosine can be."""
    try:
        value = float(text)
    except ValueError:
        return LEAST
    return value if LEAST <= value <= 1 else LEAST  # not NaN either


def connect_link(
    page: gr.Blocks,
    tabs: dict[str, gr.Tab],
    pool: ModelPool,
    model: gr.Dropdown,
    share: gr.Button,
    asked: ZeroShotTab,
    searched: SearchTab,
    examples: list[Example],
) -> None:
    """Begin with the settings in the address, and keep it up to date."""
    filters = {**searched.filters, "least": searched.least}
    parts = {
        "categories": asked.categories,
        "template": asked.template,
        "example": asked.example,
        "model": model,
        "query": searched.query,
        "images": searched.collection,
        **filters,
    }
    files = {e.name: str(e.path) for e in examples}
    first = examples[0].name if examples else ""
    collections = [value for _, value in searched.collection.choices]
    usual = Settings(
        model=pool.names[0],
        categories=asked.categories.value,
        example=first,
        images=searched.collection.value,
    )

    def begin(request: gr.Request) -> list[Any]:
        given = Settings.of(dict(request.query_params), usual)
        known = {"example": files, "model": pool.names, "images": collections}
        values = []
        for name in parts:
            value = getattr(given, name)
            fits = value != getattr(usual, name) and value in known.get(name, [value])
            if name == "model":  # one that came since the page was made is offered, too
                changed = {"value": value} if fits else {}
                values.append(gr.Dropdown(choices=pool.names, **changed))
            else:
                values.append(value if fits else gr.skip())
        picture = files.get(given.example, files.get(first))
        tab = gr.Tabs(selected=given.tab) if given.tab in tabs else gr.skip()
        filtered = any(getattr(given, name) != getattr(usual, name) for name in filters)
        fold = gr.Accordion(open=True) if filtered else gr.skip()
        return [tab, picture or gr.skip(), fold, *values]

    quietly = {"show_progress": "hidden", "api_visibility": "private"}
    holder = next(iter(tabs.values())).parent
    outputs = [holder, asked.picture, searched.fold, *parts.values()]
    begun = page.load(begin, None, outputs, **quietly)
    begun.then(None, js=_BEGUN, **quietly)
    keep = _keep(list(parts), [getattr(usual, name) for name in parts])
    gr.on([part.change for part in parts.values()], None, list(parts.values()), js=keep, **quietly)
    for name, tab in tabs.items():
        tab.select(None, js=_keep(["tab"], [Settings.tab], f"[{json.dumps(name)}]"), **quietly)
    share.click(None, js=_COPY, **quietly)


def _keep(names: list[str], usual: list[Any], values: str = "values") -> str:
    """The script that writes settings into the address."""
    return _KEEP % {
        "names": json.dumps(names),
        "usual": json.dumps(usual),
        "values": values,
        "longest": LONGEST,
    }
