"""What every page is made of: one file that loads nothing, and runs no script but its own."""

from __future__ import annotations

import hashlib
from base64 import b64encode

from ckptmigrate.visible import markup

SIGN = "<meta name='generator' content='ckptmigrate'>"


def frame(title: str, style: str, body: str, script: str = "") -> str:
    """A page.

    Args:
        title: Text.
        style, body, script: Markup. Whatever got into the body, browsers run no other script than this one.
    """
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return (
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>{SIGN}"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<meta name='viewport' content='width=device-width, initial-scale=1'><title>{markup(title)}</title>"
        f"<style>{style}</style></head><body>{body}{f'<script>{script}</script>' if script else ''}</body></html>\n"
    )
