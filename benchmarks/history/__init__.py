"""A realistic history of a busy master, made up and put into a fresh database of Buildbot's.

``plan`` makes up what happened, ``tables`` says it in rows, ``load`` writes those in bulk, and
``keep`` does all of it once for each size and keeps the database. ``cases`` picks what is asked.
"""

from __future__ import annotations
