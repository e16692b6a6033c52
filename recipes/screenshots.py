"""The pictures of a report in docs/: a page opened in Chromium at desktop and phone width, light and dark.

    nnvalue locate && nnvalue evaluate --preset quick && nnvalue measure --roles 3 --out runs/measured
    nnvalue survey --out runs/survey && nnvalue graph runs/survey --method effects
    nnvalue report && python -m recipes.screenshots report.html

Needs the extra `browser`, Pillow (matplotlib brings it) and Chromium on the PATH.
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import click

from nnvalue.artifacts import write_bytes
from recipes.command import Recipe

COLOURS = 128
"""Of the palette: a page has few, and files stay small."""
SHOWN = 560
"""Of the answers, in pixels."""
DESKTOP, PHONE = (1180, 800), (360, 740)


def shots(page: Any) -> dict[str, bytes]:
    """Name -> PNG of the parts that the documentation shows, from a page at desktop width in light colours."""

    def figure(title: str) -> Any:
        return page.locator("figure", has=page.locator("figcaption", has_text=title)).first

    made = {"report": page.screenshot()}
    for name, title in (
        ("neurons", "Where value neurons lie"), ("dose-response", "Dose and response: neurons"),
        ("pareto", "Effect against damage"), ("graph", "A causal value graph"),
        ("structure", "Like the circle, like people?"),
    ):  # fmt: skip
        here = figure(title)
        if here.count():
            here.locator("details").evaluate_all("all => all.forEach(one => { one.open = false })")
            made[name] = here.screenshot()
    return made


def answers(page: Any) -> bytes:
    """The first answers, unsteered beside steered."""
    from PIL import Image

    first = page.locator(".exchanges").first
    first.locator("summary").click()
    whole = Image.open(io.BytesIO(first.screenshot()))
    sink = io.BytesIO()
    whole.crop((0, 0, whole.width, min(whole.height, SHOWN))).save(sink, "PNG")
    return sink.getvalue()


def small(png: bytes) -> bytes:
    """The same picture with a palette."""
    from PIL import Image

    sink = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(sink, "PNG", optimize=True)
    return sink.getvalue()


@click.command(cls=Recipe)
@click.argument("report", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs/images"), show_default=True)
def main(report: Path, out: Path) -> None:
    """Write the pictures of a REPORT."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise click.ClickException(
            "There is no Chromium on the PATH; install one, such as by apt-get install chromium."
        )
    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])

        def opened(size: tuple[int, int], scheme: str) -> Any:
            page = browser.new_page(
                viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, reduced_motion="reduce"
            )
            page.goto(report.resolve().as_uri())
            return page

        made = shots(opened(DESKTOP, "light"))
        dark = opened(DESKTOP, "dark")
        if dark.locator(".exchanges").count():
            made["answers-dark"] = answers(dark)
        phone = opened(PHONE, "light")
        made["phone"] = phone.screenshot()
        browser.close()
    for name, png in made.items():
        content = small(png)
        write_bytes(out / f"{name}.png", content)
        click.echo(f"{out / name}.png: {len(content) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
