"""Traces and metrics for OpenTelemetry: ``otel.instrument(app)``, after ``jobs.init_app(app)``.

It needs the extra ``Flask-Nightshift[otel]``. An app that does not call ``instrument`` pays nothing: no other module of
ours imports this one, or OpenTelemetry.

    convention.py   names of the semantic conventions for messaging
    tracing.py      what one app reports with, made anew in each process
    sending.py      spans of producers: create, send
    processing.py   spans of workers: process
    instrument.py   switches them on
"""

try:
    from .instrument import instrument, uninstrument
    from .tracing import Providers
except ModuleNotFoundError as exc:
    if (exc.name or "").partition(".")[0] != "opentelemetry":
        raise
    raise ModuleNotFoundError(f"{exc}: pip install 'Flask-Nightshift[otel]'", name=exc.name) from exc

__all__ = ["Providers", "instrument", "uninstrument"]
