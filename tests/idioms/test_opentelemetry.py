"""``opentelemetry-instrumentation-celery``: one span per publish, under the caller's span, and one per attempt."""

from __future__ import annotations

import json
from collections.abc import Callable

from workshop import Workshop


def test_each_job_has_its_spans(workshop: Callable[..., Workshop]) -> None:
    lines = workshop("otel").run("otel").splitlines()  # what is logged stands there, too
    said = json.loads(next(line for line in lines if line.startswith('{"ids"')))
    spans, ids = said["spans"], said["ids"]
    (request,) = [span for span in spans if span["name"] == "request"]
    published = {span["job"]: span for span in spans if span["kind"] == "PRODUCER"}
    attempts = [span for span in spans if span["kind"] == "CONSUMER"]

    assert sorted(published) == sorted(ids)
    assert {span["parent"] for span in published.values()} == {request["id"]}  # not one under the other
    assert said["left"]  # nor does the last of them stay current
    assert sorted(span["job"] for span in attempts) == sorted(ids)
    assert [span["parent"] for span in attempts] == [published[span["job"]]["id"] for span in attempts]
    assert {span["trace"] for span in spans} == {request["trace"]}
