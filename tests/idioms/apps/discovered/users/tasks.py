from celery import shared_task
from ledger import note


@shared_task
def welcome(name):
    note("welcome", name)


@shared_task(expires=30)
def tick(source):
    note("tick", source)
