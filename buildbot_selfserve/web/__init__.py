"""How it travels: HTTP in, values through, JSON or HTML out.

Every request comes in through ``routing`` and ``pipeline``. A GET goes the way of ``reads``, whose
part in a reader is ``answering``: nouns, handler, value, JSON or page (``render``). Anything else
goes the way of ``job_requests``: who (``who``), cross-site (``crosssite``), body (``bodies``),
nouns (``nouns``), may they (``may``), the job request.
"""
