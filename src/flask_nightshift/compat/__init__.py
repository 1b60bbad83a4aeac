"""Where we reach into other libraries, and whether they are still as they were when we looked.

``seams.SEAMS`` is the table. ``check`` compares it with the libraries that are installed. This package imports nothing
else of ours, so it also works where a changed library keeps ``flask_nightshift`` from being imported.
"""
