"""What a run's notebook left, perhaps somebody else's, as HTML that can neither run script nor ask the network."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import nbformat
import nh3
from nbconvert import HTMLExporter
from traitlets.config import Config

from ablkit.report.text import harmless, without_folders

# nh3 wraps Ammonia, which parses as browsers do and is kept up; bleach, which nbconvert brings along, has been
# deprecated since 2023.
_TAGS = nh3.ALLOWED_TAGS - {"area", "map", "nav", "header", "footer", "aside", "article"}
# These go with all that is in them; of any other tag the text stays.
_DROPPED = {"script", "style", "svg", "math", "iframe", "object", "embed", "template", "noscript", "textarea", "title"}
_ATTRIBUTES = {
    "*": {"class", "style"},
    "a": {"href", "title"},
    "details": {"open"},
    "img": {"src", "alt", "width", "height"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
}
_EMBEDDED = re.compile(r"data:image/(?:png|jpeg|gif|webp|svg\+xml)[;,]")
_ELSEWHERE = re.compile(r"(?:https?://|mailto:|#)", re.IGNORECASE)
# Richest first, without what only script can show: such an output falls back on its picture or its text.
_KINDS = ["text/html", "text/markdown", "image/png", "image/jpeg", "image/svg+xml", "text/latex", "text/plain"]


def exporter(templates: Path) -> HTMLExporter:
    """What turns a notebook into HTML with the templates in a folder; use it through `body`."""
    config = Config({"NbConvertBase": {"display_data_priority": _KINDS}, "HTMLExporter": {"sanitize_html": True}})
    made = HTMLExporter(
        config=config, extra_template_basedirs=[str(templates)], template_name="ablkit", exclude_anchor_links=True
    )
    made.register_preprocessor("nbconvert.preprocessors.CoalesceStreamsPreprocessor", enabled=True)
    # In place of nbconvert's own, for each cell and output by itself: one that is never closed swallows no other.
    made.register_filter("clean_html", clean)
    return made


def body(text: str, made: HTMLExporter) -> str:
    """The HTML of a notebook, given as JSON, that may join a page.

    Raises whatever nbformat and nbconvert raise for a notebook that is damaged.
    """
    with warnings.catch_warnings():
        # Old notebooks lack ids and such: nothing that the reader of a report could mend.
        warnings.simplefilter("ignore")
        notebook = nbformat.reads(text, as_version=4)
        # What ran are the injected values; the cell of the defaults before them would mislead.
        notebook.cells = [cell for cell in notebook.cells if "parameters" not in cell.metadata.get("tags", [])]
        for cell in notebook.cells:
            cell.source = without_folders(cell.source)
            for output in cell.get("outputs", []):
                _prepare(output)
        html, _ = made.from_notebook_node(notebook)
    # Once more as a whole: what the templates put together, titles and sizes of pictures among it, came from there too.
    return clean(html)


def _prepare(output: nbformat.NotebookNode) -> None:
    """Cut the folders of this machine from the texts of one output, and show it without a frame, in place."""
    output.get("metadata", {}).pop("text/html", None)
    if "text" in output:
        output.text = without_folders(output.text)
    if "traceback" in output:
        output.traceback = [without_folders(line) for line in output.traceback]
    for kind, content in output.get("data", {}).items():
        if kind.startswith("text/") and isinstance(content, str):
            output.data[kind] = without_folders(content)


def clean(html: str) -> str:
    """HTML with only text, tables, links to elsewhere and embedded pictures left in it."""
    return nh3.clean(
        harmless(html),
        tags=_TAGS,
        clean_content_tags=_DROPPED,
        attributes=_ATTRIBUTES,
        attribute_filter=_allowed,
        url_schemes={"http", "https", "mailto", "data"},
        filter_style_properties={"text-align"},
    )


def _allowed(tag: str, attribute: str, value: str) -> str | None:
    if attribute == "src":
        return value if _EMBEDDED.match(value) else None
    if attribute == "href":
        return value if _ELSEWHERE.match(value) else None
    return value
