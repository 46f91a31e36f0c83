"""Benchmarks: one module a `make bench-NAME`, ours beside a named peer or limit in the same run."""
