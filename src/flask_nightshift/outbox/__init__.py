"""Jobs that are enqueued with a database transaction.

A job's finished message is a row of the table ``nightshift_outbox``, in the caller's database and transaction. The row
is deleted once the broker has the message. The relay publishes the rows that stay (a crash, a broker that is away).
"""
