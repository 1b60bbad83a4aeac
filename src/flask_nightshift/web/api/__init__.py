"""The HTTP API: what the pages and the commands do, for scripts.

msgspec, which Nightshift needs anyway, checks what is sent and gives the JSON schemas of the OpenAPI document. So the
extension, a guest in the app, brings no web framework of its own.
"""
