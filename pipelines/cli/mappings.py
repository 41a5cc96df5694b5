"""`vingate mappings list|show|test`: the dialects that payloads are read in, which are data."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from mappings.examples import ExampleResult, examples_folder, list_mappings, run_examples
from mappings.layout import Layout, Shape, dialect_names, load_layout
from pipelines.cli.out import AsJson, console, emit

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """列出内置映射，按识别顺序 / the shipped mappings, in the order in which payloads are tried against them."""
    found = list_mappings()
    if as_json:
        for one in found:
            emit(
                {
                    "name": one.name,
                    "title": one.title,
                    "edition": one.edition,
                    "source": one.source,
                    "examples": one.examples,
                }
            )
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("方言 dialect", "名称 title", "来源 source"):
        table.add_column(title, overflow="fold")
    table.add_column("示例 examples", justify="right")
    for one in found:
        table.add_row(one.name, one.title, one.source, str(one.examples))
    console().print(table)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="方言名或映射文件 / a dialect's name, or a mapping file (.toml)")],
    as_json: AsJson = False,
) -> None:
    """显示映射：打印其 TOML，可复制后修改 / show a mapping: its TOML, to copy and change for a new shop software.

    [bold]示例 / example:[/bold]  vingate mappings show csv > our-shop.toml
    """
    layout = load_layout(name)
    if as_json:
        emit(_as_object(layout))
    else:
        typer.echo(_text(name), nl=False)


@app.command("test")
def run_them(
    names: Annotated[
        list[str] | None, typer.Argument(help="方言名或映射文件，默认全部 / dialects or mapping files; default: all")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """运行映射旁的示例（examples/NAME/*.in.json 与 *.expected.json）/ run the examples beside mappings.

    有差异或没有示例时退出码为 1。/ Exits with 1 where one differs, or a mapping has none.

    [bold]示例 / example:[/bold]  vingate mappings test our-shop.toml
    """
    chosen = names or list(dialect_names())
    results = {name: run_examples(name) for name in chosen}
    lacking = [name for name, found in results.items() if not found]
    for name in lacking:
        folder = examples_folder(load_layout(name), name)
        console(stderr=True).print(f"{name}: 没有示例 / no examples: {folder}", markup=False, soft_wrap=True)
    flat = [result for found in results.values() for result in found]
    if as_json:
        for result in flat:
            emit(_result(result))
    else:
        for found in results.values():
            _report(found)
        failed = sum(not result.passed for result in flat)
        console().print(f"{len(flat)} 个示例，{failed} 个不符 / {len(flat)} examples, {failed} failed")
    raise typer.Exit(1 if lacking or not all(result.passed for result in flat) else 0)


def _report(found: list[ExampleResult]) -> None:
    screen = console()
    for result in found:
        mark = "[green]✓[/green]" if result.passed else "[red]✗[/red]"
        screen.print(f"{mark} {result.mapping}/{result.example}")
        for difference in result.differences:
            screen.print(f"    {difference}", markup=False)


def _result(result: ExampleResult) -> dict[str, Any]:
    return {
        "mapping": result.mapping,
        "example": result.example,
        "passed": result.passed,
        "differences": list(result.differences),
    }


def _as_object(layout: Layout) -> dict[str, Any]:
    return {
        "name": layout.name,
        "title": layout.title,
        "edition": layout.edition,
        "source": layout.source,
        "format": layout.format,
        "shapes": [
            {"kind": shape.kind, "step": shape.step, "members": dict(_members(shape))} for shape in layout.shape
        ],
    }


def _members(shape: Shape) -> Iterator[tuple[str, list[str]]]:
    for name, rule in shape.members.items():
        yield name, list(rule.from_)
    for rows in ("parts", "projects"):
        section = getattr(shape, rows)
        if section is not None:
            for name, rule in section.members.items():
                yield f"{rows}[].{name}", [f"{section.from_}[].{path}" for path in rule.from_]


def _text(name: str) -> str:
    if name.endswith(".toml"):
        return Path(name).read_text("utf-8")
    return files("mappings").joinpath(f"data/mappings/{name}.toml").read_text("utf-8")
