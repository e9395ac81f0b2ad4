"""The journal: every job request, from before anything is done until it has ended.

``tables`` says how it is stored, ``migrations`` how the tables came to be, ``schema`` brings a
database up to date, ``store`` writes and reads rows. All functions take a connection; where they
run is not their business.
"""
