"""Drawings (SVG) that join the pages: opened on its own, one could run script, so only those that merely draw may."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from ablkit.errors import UserError

_SVG = "{http://www.w3.org/2000/svg}"
_SHAPES = "svg g path use defs clipPath rect circle ellipse line polyline polygon text tspan image style title desc"
_ELEMENTS = {_SVG + name for name in f"{_SHAPES} linearGradient radialGradient stop marker pattern mask symbol".split()}
# What a drawing says about itself is in other languages, which no browser shows.
_ABOUT = ("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}", "{http://creativecommons.org/ns#}")
_ABOUT += ("{http://purl.org/dc/elements/1.1/}", f"{_SVG}metadata")
# Around the drawing: a style sheet, or parts of a document type, which can hide anything from this check.
_AROUND = re.compile(r"<\?xml-stylesheet|<!(?:ENTITY|ATTLIST|ELEMENT|NOTATION)|encoding=['\"](?!utf-?8)", re.IGNORECASE)
# In a style: an address, which may be spelt with escapes; `#` leads to a part of the same drawing.
_FETCHES = re.compile(r"@import|url\(\s*['\"]?(?!#)|image\(|image-set\(|\\", re.IGNORECASE)
_LINKED = re.compile(r"#|data:image/(?:png|jpeg);base64,")


def check(content: bytes) -> None:
    """Raise UserError for an SVG that holds anything but shapes, text and embedded pictures."""
    try:
        around = _AROUND.search(content.decode("utf-8"))
        drawing = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError):
        raise UserError("is no SVG") from None
    if around:
        raise UserError("is an SVG with parts outside of its drawing")
    for element in drawing.iter():
        if not (element.tag in _ELEMENTS or element.tag.startswith(_ABOUT)):
            raise UserError(f"is an SVG with <{element.tag.rpartition('}')[2][:40]}>, which does more than draw")
        if not all(_draws(name.rpartition("}")[2], value) for name, value in element.attrib.items()):
            raise UserError("is an SVG with an attribute that does more than draw")
        if element.tag == f"{_SVG}style" and _FETCHES.search("".join(element.itertext())):
            raise UserError("is an SVG whose style fetches something")


def _draws(name: str, value: str) -> bool:
    """Whether an attribute can neither run script nor fetch anything."""
    if name.lower() in ("href", "src"):
        return bool(_LINKED.match(value))
    return not name.lower().startswith("on") and not _FETCHES.search(value)
