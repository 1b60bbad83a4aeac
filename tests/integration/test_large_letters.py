"""Large dead letters: a list of them does not load their bodies."""

from __future__ import annotations

import json
import tracemalloc

from flask_nightshift import dead_letters
from flask_nightshift.domain.job import Attempt, Failure, Reason, utcnow
from flask_nightshift.message import burial
from flask_nightshift.message import headers as message_headers
from flask_nightshift.message.arguments import by_name
from flask_nightshift.store import Store


def archived(store: Store, job_id: str, body: bytes, **more: str) -> str:
    headers = {"id": job_id, "task": "t", "retries": 0, "eta": None, "expires": None, **more}
    message_headers.stamp(headers, queue="q", at=utcnow(), request_id=None)
    ended = Attempt(1, utcnow().isoformat(), "w", 0.5, "OSError", "refused")
    failure = Failure("OSError", "refused", "traceback")
    headers = burial.buried(headers, reason=Reason.EXHAUSTED, failure=failure, queue="q", worker="w",
                             at=utcnow(), ended=ended)  # fmt: skip
    letter = burial.dead_letter(body, headers, {}, "application/json", "utf-8")
    assert dead_letters.archive(store, [letter], worker="w") == 1
    return letter.id


def test_a_list_of_large_letters_takes_little_memory_and_one_of_them_comes_whole(store: Store) -> None:
    body = json.dumps([["x" * 2_000_000], {}, {}]).encode()
    ids = [archived(store, f"j{number}", body, argsrepr="(…)") for number in range(20)]
    small = archived(store, "small", b'[["ann"], {}, {}]')
    tracemalloc.start()
    letters = dead_letters.list_letters(store)
    shown = {one.letter.id: one.as_dict(by_name(None)) for one in letters}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert set(shown) == {*ids, small}
    assert peak < 5_000_000
    assert "ann" in shown[small]["args"]
    assert shown[ids[0]]["args"] == "(…)"  # Celery's short form, from the headers
    assert dead_letters.find(store, ids[0]).letter.body == body
