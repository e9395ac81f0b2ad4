"""Everything that a reader runs to answer a GET: lookup, handler, paging, JSON or page.

``read_handler`` is the entry; nothing here runs in the reactor but what makes error responses.
"""
