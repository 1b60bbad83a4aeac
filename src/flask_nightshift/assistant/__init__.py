"""Tools for assistants over the Model Context Protocol: routes of the HTTP API, for one actor of this process.

The assistant never sees arguments of jobs. Texts that a job or its caller has written are cut, and marked as words of
strangers, because they may be instructions that were put there for the assistant.
"""
