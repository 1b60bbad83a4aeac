"""``opentelemetry-instrumentation-celery``: one span for each publish, under the caller's, and one for each attempt."""

from __future__ import annotations

import json
from collections.abc import Callable

from workshop import Workshop


def test_each_job_has_its_spans(workshop: Callable[..., Workshop]) -> None:
    said = json.loads(workshop("otel").run("otel").splitlines()[-1])
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
