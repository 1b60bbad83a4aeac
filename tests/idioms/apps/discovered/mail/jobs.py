from celery import shared_task
from ledger import note


@shared_task(name="mail.send")
def send(to):
    note("send", to)
