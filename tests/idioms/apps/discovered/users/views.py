from flask import Blueprint

from .tasks import welcome

bp = Blueprint("users", __name__)


@bp.post("/welcome/<name>")
def say(name):
    return {"id": welcome.delay(name).id}
