"""Drafts of mappings: evidence for who is who, rules that say it, and the text that a person finishes."""

from ckptmigrate.mapping.draft.drafting import Draft, Pair, draft

__all__ = ["Draft", "Pair", "draft"]
