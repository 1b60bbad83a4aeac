"""What the extension serves over HTTP."""
