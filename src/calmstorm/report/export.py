"""Tables as Markdown, CSV and LaTeX, with intervals, and with a column that says which rows are the paper's.

Names in them come from runs, and runs from anywhere: each format escapes them in its own way, so that they stay text.
CSV holds the numbers themselves (shares from 0 to 1, in full precision) and each interval in two columns of its own;
Markdown and LaTeX hold them as the page shows them. LaTeX needs the package booktabs and nothing else.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from calmstorm.printable import visible
from calmstorm.report.tables import Table, TableRow

OURS, PAPERS = "this report", "published"


def write_tables(tables: list[Table], folder: Path) -> None:
    """Writes every table in three formats, named by its key, and takes away those of an earlier report."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {f"{table.key}.{ending}": write(table) for table in tables for ending, write in FORMATS.items()}
    for old in folder.iterdir():
        if old.suffix[1:] in FORMATS and old.name not in texts:
            old.unlink()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


# ------------------------------------------------------------------ Markdown


def to_markdown(table: Table) -> str:
    """Returns the table in GitHub's Markdown."""

    def line(group: str, source: str, cells: list[str]) -> str:
        return "| " + " | ".join([group] * table.grouped + [source] * table.has_published + cells) + " |"

    titles = [f"**{markdown_text(table.title)}**", *([markdown_text(table.subtitle)] if table.subtitle else [])]
    lines = [
        line("", "source", [markdown_text(column.name) for column in table.columns]),
        line("---", "---", ["---:" if column.numeric else "---" for column in table.columns]),
    ]
    for row in table.rows:
        cells = [markdown_text(f"{cell.shown} {cell.bounds}") for cell in row.cells]
        texts = [markdown_text(row.group), _source(row), *cells]
        group, source, *cells = [f"**{cell}**" if row.total and cell else cell for cell in texts]
        lines.append(line(group, source, cells))
    return "\n\n".join([*titles, "\n".join(lines), *map(markdown_text, table.notes)]) + "\n"


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is: on one line, no markup, no HTML, no link, no end of a cell."""
    flat = re.sub(r"\s+", " ", visible(text)).strip()
    flat = re.sub(r"([\\`*_{}\[\]<>#|~!$&^])", r"\\\1", flat)
    flat = re.sub(r"(?i)\b(https?|ftp|mailto)(:)", r"\1\\\2", flat)  # addresses become links by themselves
    return re.sub(r"(?i)\b(www)(\.)", r"\1\\\2", flat)


# ------------------------------------------------------------------ CSV


def to_csv(table: Table) -> str:
    """Returns the table as comma-separated values, one header line, numbers as numbers."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heads = ["source"] * table.has_published + ["group"] * table.grouped
    for column, has_range in zip(table.columns, table.ranged, strict=True):
        name = csv_text(column.name) or "name"
        heads += [name, f"{name} low", f"{name} high"] if has_range else [name]
    writer.writerow(heads)
    for row in table.rows:
        values = [_source(row)] * table.has_published + [csv_text(row.group)] * table.grouped
        for cell, has_range in zip(row.cells, table.ranged, strict=True):
            ends = cell.interval or (None, None)
            values += map(_plain, (cell.value, *ends) if has_range else (cell.value,))
        writer.writerow(values)
    return out.getvalue()


def csv_text(text: str) -> str:
    """Text that a spreadsheet takes for text: a sign that would begin a formula gets an apostrophe before it."""
    flat = re.sub(r"\s+", " ", visible(text)).strip()
    return f"'{flat}" if flat[:1] in ("=", "+", "-", "@") else flat


def _plain(value: float | str | None) -> str:
    if isinstance(value, str):
        return csv_text(value)
    if value is None:
        return ""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else f"{value:.10g}"


# ------------------------------------------------------------------ LaTeX


def to_latex(table: Table) -> str:
    """Returns the table as a float with booktabs rules."""
    heads = [latex_text(column.name) for column in table.columns]
    shape = "".join("r" if column.numeric else "l" for column in table.columns)
    if table.has_published:
        heads, shape = [*heads[:1], "Source", *heads[1:]], shape[:1] + "l" + shape[1:]
    caption = latex_text(table.title + (f": {table.subtitle}" if table.subtitle else "") + ".")
    lines = ["% needs \\usepackage{booktabs}", "\\begin{table}", "\\centering", f"\\caption{{{caption}}}"]
    lines += [f"\\label{{tab:{table.key}}}", f"\\begin{{tabular}}{{{shape}}}", "\\toprule"]
    lines += [" & ".join(heads) + " \\\\", "\\midrule", *_latex_rows(table, len(heads)), "\\bottomrule"]
    lines += ["\\end{tabular}"]
    lines += [f"\\par\\smallskip{{\\footnotesize {latex_text(note)}}}" for note in table.notes]
    return "\n".join([*lines, "\\end{table}"]) + "\n"


def _latex_rows(table: Table, width: int) -> Iterator[str]:
    group = ""
    for index, row in enumerate(table.rows):
        if row.group != group:
            if index:
                yield "\\addlinespace"
            group = row.group
            if group:
                yield f"\\multicolumn{{{width}}}{{l}}{{\\textit{{{latex_text(group)}}}}} \\\\"
        cells = [
            latex_text(cell.shown) + (f" {{\\scriptsize {latex_text(cell.bounds)}}}" if cell.bounds else "")
            for cell in row.cells
        ]
        if table.has_published:
            cells.insert(1, _source(row))
        if row.total:
            cells = [f"\\textbf{{{cell}}}" if cell else "" for cell in cells]
        yield " & ".join(cells) + " \\\\"


_LATEX = {
    "\\": "\\textbackslash{}",
    "{": "\\{",
    "}": "\\}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    "`": "\\textasciigrave{}",
    "[": "{[}",  # after a line break a bracket would begin an option
    "]": "{]}",
    "*": "{*}",
    "\x00": "-{}",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
    "\N{EM DASH}": "---",
    "\N{RIGHTWARDS ARROW}": "$\\rightarrow$",
    "\N{BLACK STAR}": "$\\star$",
    "\N{HORIZONTAL ELLIPSIS}": "\\ldots{}",
    "\N{LEFT DOUBLE QUOTATION MARK}": "``",
    "\N{RIGHT DOUBLE QUOTATION MARK}": "''",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{MIDDLE DOT}": "\\textperiodcentered{}",
    "\N{EN SPACE}": " ",
    **{letter: f"\\{letter}" for letter in "&%$#_"},
}


def latex_text(text: str) -> str:
    """Text that LaTeX sets as it is; a character its fonts have no sign for is written out as `<U+1F600>`."""
    flat = re.sub(r"\s+", " ", visible(text)).strip()
    flat = re.sub("-(?=-)", "\x00", flat)  # two hyphens would become a dash; no text has this character any more
    return "".join(_LATEX.get(letter) or _latex_letter(letter) for letter in flat)


def _latex_letter(letter: str) -> str:
    is_set = letter.isascii() or (letter.isalpha() and "\u00c0" <= letter <= "\u017f")
    return letter if is_set else f"\\textless{{}}U+{ord(letter):04X}\\textgreater{{}}"


# ------------------------------------------------------------------ all


def _source(row: TableRow) -> str:
    return PAPERS if row.published else OURS


FORMATS: dict[str, Callable[[Table], str]] = {"md": to_markdown, "csv": to_csv, "tex": to_latex}
"""By the ending of the file."""
