"""The page of a map: one file that needs nothing else, with every image in it, small."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image

from convgrid.compare.report.drawing import Drawing
from convgrid.compare.report.page import coloured, hash_of
from convgrid.compare.report.svg import svg

SIDE, QUALITY = 48, 80  # pixels of a small image, and how well it is kept


def map_page(title: str, facts: Mapping[str, str], drawing: Drawing, images: Sequence[Image.Image]) -> str:
    """Write the page.

    Args:
        facts: By name.
        drawing: Its dots are numbered like the images, from 1 on.

    Returns:
        HTML; whatever classes and files are named is harmless in it.
    """
    style, script = coloured(_text("page.css")), _text("page.js")
    columns = math.ceil(math.sqrt(len(images)))
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return template.from_string(_text("page.html")).render(
        columns=columns,
        drawing=svg(drawing),
        facts=facts,
        script=Markup(script),  # noqa: S704
        script_hash=hash_of(script),
        sheet=_sheet(images, columns),
        side=SIDE,
        style=Markup(style),  # noqa: S704
        style_hash=hash_of(style),
        title=title,
    )


def _sheet(images: Sequence[Image.Image], columns: int) -> str:
    """All small images as one, row by row."""
    whole = Image.new("RGB", (columns * SIDE, math.ceil(len(images) / columns) * SIDE))
    for place, image in enumerate(images):
        filter_ = Image.Resampling.NEAREST if image.width < SIDE else Image.Resampling.BICUBIC
        whole.paste(image.resize((SIDE, SIDE), filter_), (place % columns * SIDE, place // columns * SIDE))
    content = io.BytesIO()
    whole.save(content, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def _text(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
