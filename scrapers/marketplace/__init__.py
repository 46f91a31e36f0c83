"""The stand-in marketplace: a real HTTP server in the shape of the source, for the stack on one machine.

No spider imports it, and nothing of its generator is visible to features or model: the only way
from here into the lake is over HTTP.
"""
