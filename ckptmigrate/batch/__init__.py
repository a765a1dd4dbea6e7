"""Batch: many conversions from one manifest, in processes, with a ledger that a killed run is resumed from."""

from ckptmigrate.batch.manifest import Entry, read_manifest
from ckptmigrate.batch.run import BatchOptions, BatchReport, batch

__all__ = ["BatchOptions", "BatchReport", "Entry", "batch", "read_manifest"]
