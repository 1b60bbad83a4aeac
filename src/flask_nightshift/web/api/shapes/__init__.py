"""The JSON that the HTTP API takes and answers, and that ``flask jobs … --json`` prints, as msgspec structs.

They describe and check; nothing builds them to answer a request. The answer itself is the ``as_dict()`` of a value in
``observe`` or ``operations``. ``openapi.py`` makes the document from the structs, and tests compare both with real
answers.
"""
