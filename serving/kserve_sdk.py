"""The one place that imports KServe's SDK.

Importing it parses ``sys.argv`` with prefix matching (``--model`` of our command line would be taken
for ``--model_name``), so it is imported with an empty command line, and everything else takes the
names from here.
"""

from __future__ import annotations

import sys

_argv, sys.argv = sys.argv, [sys.argv[0], "--configure_logging=false"]
try:
    from kserve import InferRequest, InferResponse, Model, ModelServer
    from kserve import errors as kserve_errors
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
    from kserve.protocol.grpc.server import GRPCServer
    from kserve.protocol.grpc.servicer import InferenceServicer
    from kserve.protocol.rest.server import RESTServer, metrics_handler
finally:
    sys.argv = _argv

__all__ = [
    "GRPCServer",
    "InferRequest",
    "InferResponse",
    "InferenceServicer",
    "Model",
    "ModelServer",
    "RESTServer",
    "kserve_errors",
    "metrics_handler",
    "pb",
]
