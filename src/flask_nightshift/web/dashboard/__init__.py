"""The dashboard: pages that people look at when something is wrong.

``mount.py`` adds it to the app; ``serving.py`` answers a request; ``routing.py`` declares pages and actions;
``guard.py`` decides who may do what; ``pages/`` has a module for each page. All but ``mount.py`` is imported at the
first request, so an app that nobody looks at pays nothing.
"""
