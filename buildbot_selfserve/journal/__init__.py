"""The journal: a row for each job request, written before anything is done.

``tables`` defines the tables, ``migrations`` creates them, ``schema`` upgrades a database, and
``store`` writes and reads rows. All functions take a connection and may run in any thread or
process.
"""
