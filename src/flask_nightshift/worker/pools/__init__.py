"""What runs the attempts: processes, one thread, greenlets."""
