"""Converts texts to values: every parameter of a route, with its message and its schema.

A parameter arrives as text (a form, a query, a path segment) or as a JSON value. Its kind turns
either into the value that the handler gets, or raises ``BadParameter``, which names the parameter
and says what would be right. ``kinds`` are the kinds, ``declared`` the parameters of this API;
``texts`` says which texts can be stored everywhere.
"""
