"""Every action on jobs, queues and dead letters: the only way in for the command line, HTTP and other front ends.

Plain functions take the app's ``Services`` and values, and return values. They raise ``errors`` and print nothing: a
front end parses, calls one of them, and shows the result. To read the state of the whole system, use ``observe``.
"""
