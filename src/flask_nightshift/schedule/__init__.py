"""The schedule: its entries, when each is due, and Beat, which enqueues them."""
