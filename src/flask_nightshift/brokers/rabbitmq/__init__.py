"""RabbitMQ: quorum queues, confirmed publishes, Celery's native delayed delivery, a dead-letter exchange."""
