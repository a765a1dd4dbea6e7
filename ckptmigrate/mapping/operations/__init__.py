"""The operations of the mapping language (mappings/README.md, "Operations"): parsed, resolved to steps, and undone."""

from ckptmigrate.mapping.operations.follow import resolve_slot
from ckptmigrate.mapping.operations.operation import Operation
from ckptmigrate.mapping.operations.resolve import resolve, reversibility, unproven
from ckptmigrate.mapping.operations.table import OPERATIONS, parse

__all__ = ["OPERATIONS", "Operation", "parse", "resolve", "resolve_slot", "reversibility", "unproven"]
