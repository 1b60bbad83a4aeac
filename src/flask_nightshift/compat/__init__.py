"""The internals of other libraries that we depend on, and a check that they have not changed.

``seams.SEAMS`` is the table. ``check`` compares it with the installed libraries. This package imports nothing else of
ours, so it also works if a changed library makes the import of ``flask_nightshift`` fail.
"""
