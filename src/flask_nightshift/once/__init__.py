"""Work that is done once: a marker for each key says who does it now, or that it is done."""
