"""What will this second-hand fashion listing sell for?

The ground floor that every room stands on: the listing contract, the taxonomy,
settings, storage, and the price model's inference half in :mod:`graildient.pricing`.
"""

__version__ = "0.1.0"
