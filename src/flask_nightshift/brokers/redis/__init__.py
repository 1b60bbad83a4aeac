"""Redis and Valkey: kombu's ready lists with leases on top."""
