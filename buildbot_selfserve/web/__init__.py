"""Handles HTTP in the reactor.

Every request comes in through ``routing`` and ``pipeline``. ``reads`` handles a GET, of which
``views.read_handler`` is the part in a reader; ``job_requests`` handles everything else, with
``auth`` before it and ``jobs`` behind it.
"""
