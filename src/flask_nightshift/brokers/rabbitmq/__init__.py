"""RabbitMQ: quorum queues, confirmed publishes, its own delays and dead-letter exchange."""
