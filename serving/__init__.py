"""The model server: prices over REST (V1, V2) and gRPC (V2), in bulk, and the clients that ask for them.

codecs.py          wire forms of V1 and of the Open Inference Protocol, shared by REST and gRPC
tensors.py         the table of V2's inputs and outputs, and strict decoding
dataplane.py       rows → listings → market lookup → model → answers; the only way to a price
lookup.py          the online store within a deadline
champion.py        the served model: verified, warmed, swapped when the alias moves
model.py           the `kserve.Model` around the data plane
rest.py, rpc.py    KServe's REST and gRPC servers with our limits and error shape
errors.py          what a request is refused for, and how that looks
metrics.py         what `/metrics` shows
pages.py           what a browser shows
kserve_sdk.py      the one import of KServe
server.py          `serve()`: ports, readiness, signals
prediction_log.py  every answer as Parquet, off the request path
bulk.py            files of listings
client.py          one listing asked of a running server; imports no server code
"""
