"""The code that readers run to answer a GET: lookup, handler, paging, JSON or page.

``read_handler`` is the entry point. Only ``error_responses`` also runs in the reactor.
"""
