import time

from celery import Task, shared_task
from ledger import note


@shared_task(ignore_result=False)
def add(a: int, b: int) -> int:
    return a + b


@shared_task()
def block() -> None:
    note("block")


@shared_task(bind=True, ignore_result=False)
def process(self: Task, total: int) -> object:
    for i in range(total):
        self.update_state(state="PROGRESS", meta={"current": i + 1, "total": total})
        note("process", i)
        while i == 0 and not _told_to_go_on():
            time.sleep(0.02)
    return {"current": total, "total": total}


@shared_task(max_retries=1, retry_backoff=0.1)
def fail() -> None:
    note("fail")
    raise ValueError("no luck")


def _told_to_go_on() -> bool:
    import os

    return os.path.exists(os.path.join(os.environ["INSTANCE"], "go-on"))
