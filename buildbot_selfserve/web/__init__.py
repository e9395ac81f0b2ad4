"""How it travels: HTTP in, values through, JSON or HTML out.

``site`` is the pipeline, in order: match, format, who (``who``), cross-site (``crosssite``), body
(``bodies``), parameters, nouns (``nouns``), may they (``may``), the job request. ``answering`` is
the part of it that runs in a reader: nouns, handler, value, JSON or page (``render``).
"""
