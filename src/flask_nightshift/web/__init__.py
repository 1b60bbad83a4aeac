"""The HTTP endpoints of the extension."""
