"""Bytes on disk: tables, tensor bundles, V1 files, object graphs, and the checks that untrusted files need."""
