"""What a cell of a notebook shows beside figures and tables: a verdict, and a strip of images."""

from __future__ import annotations

import base64

from ablkit.report.pictures import enlarged


def say(finding: str) -> None:
    """Show a finding, which is Markdown."""
    from IPython.display import display

    display({"text/markdown": finding, "text/plain": finding}, raw=True)


def picture(png: bytes, alt: str, caption: str) -> None:
    """Show a small picture enlarged, its pixels as squares, with a description for those who cannot see it."""
    from IPython.display import display

    content = base64.b64encode(enlarged(png)).decode()
    display({"image/png": content}, raw=True, metadata={"image/png": {"alt": alt}})
    say(f"*{caption}*")
