"""Answers one request of the dashboard: find the route, know the actor, check, run, show."""

from __future__ import annotations

import logging
import secrets
from dataclasses import replace

from flask import Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge
from werkzeug.routing import MapAdapter, RequestRedirect

from ... import errors, services
from ...domain.actor import Actor
from ...domain.job import utcnow
from ...operations import audit
from ...services import Services
from ...text.failures import told
from . import cookies, guard, rendering, routing, sessions
from .answers import polled, sealed, see_other
from .call import Answer, Call, Done, Refused, View
from .routing import Kind, Question, Route
from .sessions import Keys

logger = logging.getLogger("flask_nightshift.http")

LARGEST_FORM = 25_000_000
"""Bytes of a form: two texts of arguments with a million characters each, which a form writes in up to 12 bytes."""
STRANGER = Actor("a stranger")
_STATUS: tuple[tuple[type[errors.NightshiftError], int, str], ...] = (
    (errors.DatabaseUnavailable, 503, "The history cannot be reached"),
    (errors.BrokerUnavailable, 503, "The broker cannot be reached"),
    (errors.JobNotFound, 404, "There is no such job"),
    (errors.DeadLetterNotFound, 404, "There is no such dead letter"),
    (errors.EntryNotFound, 404, "There is no such entry"),
    (errors.BulkActionNotFound, 404, "There is no such bulk action"),
    (errors.ConfigurationError, 400, "That cannot be used"),
    (errors.InvalidKey, 400, "There is no such page"),
    (errors.InvalidQuery, 400, "That cannot be searched for"),
    (errors.ArgumentsRefused, 400, "These arguments cannot be used"),
    (errors.NightshiftError, 409, "That cannot be done"),
)


def serve(path: str) -> Response:
    """The response for ``path`` under the prefix; raises what the app's own function for the login raises."""
    built = services.current()
    request.max_content_length = request.max_form_memory_size = LARGEST_FORM
    routes = _bound(built, path)
    call = Call(request, built, STRANGER, utcnow(), secrets.token_urlsafe(12), "", routes)
    try:
        return _answer(call, path)
    except Refused as exc:
        return rendering.refusal(_with_actor(call, exc), exc)
    except RequestEntityTooLarge:
        said = f"A form has at most {LARGEST_FORM:,} bytes. Nothing was changed."
        refused = Refused(413, "The form is too large", said)
        return rendering.refusal(_with_actor(call, refused), refused)
    except errors.NightshiftError as exc:
        logger.info("http.dashboard_refused", extra={"path": request.path, "why": told(exc)})
        status, title = next((code, words) for kind, code, words in _STATUS if isinstance(exc, kind))
        refused = Refused(status, title, f"{told(exc).rstrip('.')}.")
        return rendering.refusal(_with_actor(call, refused), refused)


def _with_actor(call: Call, refused: Refused) -> Call:
    """``call`` with its actor, for whom the page of an error has a way back; a stranger gets none."""
    if isinstance(refused, rendering.Closed):
        return call
    try:
        return _known(call)[0]
    except Exception:  # noqa: BLE001 - the page is about the first error
        return call


def _bound(built: Services, path: str) -> MapAdapter:
    root = request.script_root.rstrip("/") + built.settings.dashboard_prefix
    return routing.table().bind("", script_name=root, path_info=f"/{path}", default_method=request.method)


def _answer(call: Call, path: str) -> Response:
    try:
        name, values = call.routes.match(f"/{path}", request.method)
    except RequestRedirect as exc:
        return see_other(exc.new_url)
    except (NotFound, MethodNotAllowed) as exc:
        call, _ = _known(call)
        raise _nothing_here(exc) from None
    route = routing.ROUTES[name]
    call = replace(call, endpoint=name, values=dict(values))
    if route.kind is Kind.OPEN:
        response: Response = route.run(call, **values)
        return response
    call, keys = _known(call)
    if route.kind is Kind.ACTION:
        return _act(call, route, keys)
    guard.check_permission(call.actor, route.permission)
    return _shown(call, route.run(call, **values), keys)


def _known(call: Call) -> tuple[Call, Keys]:
    """The call with its actor; raises ``Refused`` for a stranger, who learns nothing else."""
    keys = guard.keys_of(call.request, call.services)
    actor = guard.actor_of(request, call.services, keys)
    if actor is None:
        raise rendering.closed(call)
    return replace(call, actor=actor), keys


def _act(call: Call, route: Route, keys: Keys) -> Response:
    guard.check_origin(request)
    guard.check_token(request, keys, call.actor)
    guard.check_permission(call.actor, route.permission)
    if route.asks is not None and _must_ask(call, route):
        return _shown(call, _asked(call, route, route.asks(call)), keys)
    try:
        done = _done(call, route)
    except (errors.ArgumentsRefused, errors.DuplicateJob) as exc:
        if route.again is None:
            raise
        done = route.again(call, told(exc))
    if not isinstance(done, Done):
        return _shown(call, done, keys)
    response = see_other(done.to)
    cookies.say(response, call, keys, done)
    return response


def _must_ask(call: Call, route: Route) -> bool:
    return call.text("asked") != "yes" and (not route.at_once or call.text("ask") == "yes")


def _asked(call: Call, route: Route, question: Question) -> View:
    """The page that asks; its form has the fields of the one that was sent."""
    left_out = (guard.TOKEN_FIELD, "why", "ask")
    fields = {name: call.texts(name) for name in call.request.form if name not in left_out}
    return View(
        "confirm.html",
        {
            "title": "Give a reason" if route.at_once else "Are you sure?",
            "said": question.said,
            "post": call.endpoint,
            "fields": fields | {"asked": "yes"},
            "verb": question.verb,
            "tone": question.tone,
            "back": question.back,
            "why": True,
            "focus": route.at_once,
        },
    )


def _done(call: Call, route: Route) -> Answer:
    """Do an action within its row of the audit, so that one whose process is killed stays ``begun``."""
    if route.about is None:
        recorded: Answer = route.run(call, **call.values)
        return recorded
    about, reason = route.about(call), call.reason
    with audit.acting(call.services, route.verb, about, by=call.actor, why=reason) as action:
        done: Answer = route.run(call, **call.values)
        if isinstance(done, Done):
            action.acted_on(done.count, done.target or None)
        else:
            action.acted_on(0)
    return done


def _shown(call: Call, answer: Answer, keys: Keys) -> Response:
    if not isinstance(answer, View):
        return answer if isinstance(answer, Response) else see_other(answer.to)
    known = request.cookies.get(cookies.VISITOR)
    visitor = known or sessions.new_visitor()
    call = replace(call, token=keys.form_token(visitor, call.actor.name))
    if request.headers.get("HX-Request") == "true":
        return polled(rendering.live_part(call, answer), request.headers.get("If-None-Match"))
    body = rendering.page(call, answer, cookies.said(call, keys))
    response = sealed(body, answer.status, nonce=call.nonce)
    if visitor != known:
        cookies.visitor(response, call, visitor)
    cookies.forget_said(response, call)
    return response


def _nothing_here(exc: HTTPException) -> Refused:
    if isinstance(exc, MethodNotAllowed):
        return Refused(405, "Not like this", "This address takes another method.")
    return Refused(404, "There is nothing here", "Follow the navigation to one of the pages.")


__all__ = ["serve"]
