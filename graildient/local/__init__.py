"""The whole stack on one machine, from one command.

With :mod:`graildient.cli` this is the explicit top layer: it may import every room, and nobody imports it.
"""
