"""A report as Markdown: the same text and tables; figures stay in the HTML."""

from __future__ import annotations

from mmearth.benchmark.report.content import Block, Document, Figure, Table


def to_markdown(document: Document) -> str:
    """Return the whole file as text; the same document gives the same text."""
    parts = [f"# {document.title}", *document.lead]
    for section in document.sections:
        parts.append(f"## {section.title}")
        parts.extend(_block(block) for block in section.blocks if not isinstance(block, Figure))
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    return _table(block) if isinstance(block, Table) else str(block)


def _table(table: Table) -> str:
    rule = ["---" if i < table.n_labels else "---:" for i in range(len(table.header))]
    lines = [_row(table.header), _row(rule), *(_row(row) for row in table.rows)]
    return f"**{table.caption}**\n\n" + "\n".join(lines)


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
