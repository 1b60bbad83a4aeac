from celery.result import AsyncResult
from flask import Blueprint, request

from . import tasks

bp = Blueprint("tasks", __name__, url_prefix="/tasks")


@bp.get("/result/<id>")
def result(id: str) -> dict[str, object]:  # noqa: A002 - Flask's own words
    result = AsyncResult(id)
    ready = result.ready()
    return {
        "ready": ready,
        "successful": result.successful() if ready else None,
        "value": result.get() if ready else result.result,
        "state": result.state,
    }


@bp.post("/add")
def add() -> dict[str, object]:
    result = tasks.add.delay(request.form.get("a", type=int), request.form.get("b", type=int))
    return {"result_id": result.id}


@bp.post("/<any(block, process, fail):name>")
def other(name: str) -> dict[str, object]:
    arguments = {"total": 3} if name == "process" else {}
    return {"result_id": getattr(tasks, name).delay(**arguments).id}
