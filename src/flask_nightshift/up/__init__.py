"""``flask jobs up``: every process of one app in one terminal."""

from .start import need_port, up, web_app

__all__ = ["need_port", "up", "web_app"]
