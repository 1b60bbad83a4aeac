"""Makes pages of templates, with an environment of their own: the app's filters and globals do not reach it."""

from __future__ import annotations

import re
from functools import cache
from hashlib import blake2b
from typing import Any

from flask import Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2 import Template as JinjaTemplate
from markupsafe import Markup, escape

from ...observe import query
from ...observe.filters import Filters
from ...observe.jobs import ListedJob
from ...text import patterns
from ...text.counts import plural
from ...text.printable import printable
from . import assets, charts, guard, tracebacks, words
from .answers import etag_of, sealed
from .call import Call, Refused, View
from .routing import ROUTES, Kind, Route

LIVE = "live"
"""The block of a template that is polled."""
_JOINTS = re.compile(r"(?<=[._@/])")


@cache
def environment() -> Environment:
    """The environment of all templates."""
    made = Environment(
        loader=FileSystemLoader(f"{__file__.rpartition('/')[0]}/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        finalize=_clear,
    )
    made.filters.update(words.FILTERS, shown=shown, arguments=arguments, ticked=ticked)
    made.globals.update(
        static=_static,
        nav=_nav,
        has_route=ROUTES.__contains__,
        at_once=_at_once,
        asks=_asks,
        by_link=guard.by_link,
        query_for=query_for,
        phrase=phrase,
        frames=tracebacks.parts,
        spark_path=charts.sparkline,
        without=_without,
    )
    made.filters["slug"] = slug
    made.filters["breakable"] = breakable
    made.globals["plural"] = plural
    return made


def page(call: Call, view: View, flash: tuple[str, bool] | None) -> str:
    """The whole page, with its polled part and its tag."""
    template, values = _prepared(call, view)
    live = _block(template, values) if LIVE in template.blocks else None
    return template.render(
        values,
        live_part=Markup(live) if live is not None else None,  # noqa: S704 - it is rendered by the same template
        live_tag=etag_of(live) if live is not None else "",
        flash=flash,
    )


def live_part(call: Call, view: View) -> str:
    """Only the polled part."""
    template, values = _prepared(call, view)
    return _block(template, values) if LIVE in template.blocks else ""


def simple(call: Call, template: str, status: int = 200, **values: Any) -> Response:
    """A page without navigation, for strangers too."""
    body = environment().get_template(template).render(call=call, title="", **values)
    return sealed(body, status, nonce=call.nonce)


def refusal(call: Call, exc: Refused) -> Response:
    """The page of an error."""
    template = "closed.html" if isinstance(exc, Closed) else "refused.html"
    return simple(call, template, exc.status, problem=exc, configured=_configured(call))


class Closed(Refused):
    """The dashboard is not open for this caller."""


def closed(call: Call) -> Closed:
    """What a stranger gets."""
    if _configured(call):
        return Closed(
            403, "Not for you", f"{guard.AUTH} does not know you. Log in to the app, and come back."
        )
    return Closed(403, "This dashboard is closed", f"It stays closed until {guard.AUTH} says who may see it.")


def _clear(value: Any) -> Any:
    """What a template writes; control characters of texts, and halves of characters, become visible."""
    return printable(value) if type(value) is str else value


def shown(text: object, most: int = 200) -> str:
    """``text`` with its control characters made visible, and cut after ``most`` characters."""
    clear = printable(text)
    return clear if len(clear) <= most else clear[: most - 1] + "…"


def slug(name: str) -> str:
    """A short text for the id of an element, the same for the same name and different for others."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def _configured(call: Call) -> bool:
    return call.services.settings.dashboard_auth is not None


def _prepared(call: Call, view: View) -> tuple[JinjaTemplate, dict[str, Any]]:
    found = environment()
    template = found.get_template(view.template)
    title = ROUTES[call.endpoint].title
    values = {"call": call, "now": call.now, "title": title, **view.values}
    values["ui"] = found.get_template("macros.html").make_module(values)
    return template, values


def _block(template: JinjaTemplate, values: dict[str, Any]) -> str:
    return "".join(template.blocks[LIVE](template.new_context(values)))


def _static(call: Call, name: str) -> str:
    return call.url("static", version=assets.files()[name].tag, name=name)


def query_for(
    *, task: str | None = None, queue: str | None = None, worker: str | None = None, tag: str | None = None
) -> str:
    """The query of the search box that finds exactly these names."""
    exact = [None if name is None else patterns.exactly(name) for name in (task, queue, worker)]
    return query.text_of(Filters(task=exact[0], queue=exact[1], worker=exact[2], tag=tag))


def phrase(text: str) -> str:
    """The query of the search box that looks for ``text``."""
    return query.text_of(Filters(search=text))


def ticked(text: str) -> Markup:
    """A sentence in which words between backticks are code."""
    parts = [escape(printable(part)) for part in text.split("`")]
    if len(parts) % 2 == 0:
        return escape(printable(text))
    code = Markup('<code class="inline">{}</code>')
    return Markup("").join(code.format(part) if index % 2 else part for index, part in enumerate(parts))


def breakable(text: str) -> Markup:
    """A name that a line may break after its dots and underscores."""
    return Markup("<wbr>").join(escape(printable(part)) for part in _JOINTS.split(text))


def arguments(job: ListedJob) -> str:
    """The arguments of a job in one line, without what says that there are none."""
    return " ".join(text for text in (job.args, job.kwargs) if text and text not in ("()", "{}", "[]"))


def _without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}


def _at_once(endpoint: str) -> bool:
    return ROUTES[endpoint].at_once


def _asks(endpoint: str) -> bool:
    return ROUTES[endpoint].asks is not None and not ROUTES[endpoint].at_once


def _nav() -> list[Route]:
    return [route for route in ROUTES.values() if route.kind is Kind.PAGE and route.nav]


__all__ = [
    "Closed",
    "arguments",
    "breakable",
    "closed",
    "environment",
    "live_part",
    "page",
    "phrase",
    "query_for",
    "refusal",
    "shown",
    "simple",
    "ticked",
]
