"""A report as one HTML file that needs nothing else: no script, no font, no network."""

from __future__ import annotations

import re
from html import escape

from mmearth.benchmark.report.content import Block, Document, Figure, Section, Table

_STYLE = """
body{margin:0 auto;padding:24px 20px 64px;max-width:1280px;background:#fff;color:#1a1a1a;
 font:15px/1.5 system-ui,'Segoe UI',Helvetica,Arial,sans-serif}
h1{font-size:26px;line-height:1.2;margin:8px 0 12px}
h2{font-size:20px;margin:44px 0 10px;padding-top:10px;border-top:1px solid #ccc}
p{max-width:74ch;margin:8px 0}
nav{columns:2;max-width:74ch;margin:16px 0;font-size:14px}nav a{display:block;color:#0050a0}
code{font:13px ui-monospace,'DejaVu Sans Mono',Menlo,monospace;background:#f2f2f2;padding:0 3px}
figure{margin:16px 0;overflow-x:auto}figcaption{font-size:13px;color:#444;margin-top:4px}
svg{max-width:100%;height:auto;display:block}
.wide{overflow-x:auto;margin:14px 0}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
caption{text-align:left;white-space:nowrap;font-weight:600;padding:0 0 6px}
th,td{padding:3px 10px 3px 0;text-align:right;border-bottom:1px solid #e4e4e4;vertical-align:top}
th{border-bottom:1.5px solid #1a1a1a;vertical-align:bottom;font-weight:600}
td{white-space:nowrap}.t{text-align:left}td.w{white-space:normal}
details{margin:12px 0}summary{cursor:pointer;font-size:14px;color:#0050a0}
@media print{nav{display:none}details{display:block}}
"""
_LONG = 40  # letters of a cell that may break into lines


def to_html(document: Document) -> str:
    """Return the whole file as text; the same document gives the same text."""
    links = "".join(
        f'<a href="#{_anchor(section.title)}">{escape(section.title)}</a>'
        for section in document.sections
    )
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
        f"<title>{escape(document.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n",
        f"<h1>{escape(document.title)}</h1>\n",
        *(f"<p>{_inline(words)}</p>\n" for words in document.lead),
        f"<nav>{links}</nav>\n",
        *(_section(section) for section in document.sections),
        "</body>\n</html>\n",
    ]
    return "".join(parts)


def _section(section: Section) -> str:
    heading = f'<h2 id="{_anchor(section.title)}">{escape(section.title)}</h2>\n'
    return heading + "".join(_block(block) for block in section.blocks)


def _block(block: Block) -> str:
    if isinstance(block, str):
        return f"<p>{_inline(block)}</p>\n"
    if isinstance(block, Figure):
        caption = f"<figcaption>{_inline(block.caption)}</figcaption>"
        return f"<figure>{block.svg}{caption}</figure>\n"
    if block.folded:
        return f"<details><summary>The numbers</summary>{_table(block)}</details>\n"
    return _table(block)


def _table(table: Table) -> str:
    head = "".join(_cell("th", i, words, table) for i, words in enumerate(table.header))
    rows = "".join(
        "<tr>" + "".join(_cell("td", i, words, table) for i, words in enumerate(row)) + "</tr>\n"
        for row in table.rows
    )
    return (
        f'<div class="wide"><table><caption>{_inline(table.caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    )


def _cell(tag: str, i: int, words: str, table: Table) -> str:
    names = ["t"] * (i < table.n_labels) + ["w"] * (len(words) > _LONG)
    kind = f' class="{" ".join(names)}"' if names else ""
    return f"<{tag}{kind}>{_inline(words)}</{tag}>"


def _inline(words: str) -> str:
    """Escape text; what stands between back-ticks becomes code, between double stars strong."""
    coded = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(words, quote=False))
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", coded)


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
