"""Drawings (SVG) and pictures (PNG) that join the pages: opened alone, some could run script, or hide something.

Only those that merely draw may join.
"""

from __future__ import annotations

import re
import struct
import zlib
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
_PNG = b"\x89PNG\r\n\x1a\n"
_CHUNKS = (b"IHDR", b"IDAT", b"IEND")
_CHANNELS = {0: 1, 2: 3, 6: 4}
"""Kind of a PNG -> channels: grey, RGB, RGBA."""
_MOST_PIXELS = 1 << 25


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


def check_picture(content: bytes) -> None:
    """Raise UserError for anything but the PNG of a picture: 8 bits a channel, and nothing in it beside its pixels."""
    if not content.startswith(_PNG):
        raise UserError("is no PNG")
    chunks = _chunks(content)
    names = [name for name, _ in chunks]
    if any(name not in _CHUNKS for name in names):
        raise UserError("is a PNG that holds more than pixels")
    head = chunks[0][1]
    if names != [b"IHDR", *[b"IDAT"] * (len(names) - 2), b"IEND"] or len(head) != 13 or chunks[-1][1]:
        raise UserError("is a damaged PNG")
    width, height, depth, kind, *rest = struct.unpack(">II5B", head)
    if depth != 8 or kind not in _CHANNELS or any(rest):
        raise UserError("is a PNG of another kind than grey, RGB or RGBA with 8 bits a channel")
    # Before anything is unpacked: a small file may claim a picture that fills the memory.
    if width * height > _MOST_PIXELS:
        raise UserError(f"is a PNG of more than {_MOST_PIXELS >> 20} million pixels")
    line = 1 + width * _CHANNELS[kind]
    pixels = _unpacked(b"".join(value for name, value in chunks if name == b"IDAT"), height * line)
    if not pixels or max(pixels[::line]) > 4:  # how each line is coded
        raise UserError("is a damaged PNG")


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """The parts of a PNG, name and content; raises UserError where one is cut or changed, or something is behind."""
    found, at = [], len(_PNG)
    while at < len(content):
        length, name = struct.unpack_from(">I4s", content.ljust(at + 8, b"\0"), at)
        end = at + 12 + length
        if end > len(content) or zlib.crc32(content[at + 4 : end - 4]) != int.from_bytes(content[end - 4 : end]):
            raise UserError("is a damaged PNG")
        found.append((name, content[at + 8 : end - 4]))
        at = end
    return found or [(b"", b"")]


def _unpacked(packed: bytes, size: int) -> bytes:
    """What was packed, where it has exactly that size; else nothing."""
    unpacking = zlib.decompressobj()
    try:
        unpacked = unpacking.decompress(packed, size + 1)
    except zlib.error:
        return b""
    return unpacked if len(unpacked) == size and unpacking.eof and not unpacking.unused_data else b""
