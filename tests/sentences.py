"""Lists every sentence that users see, with its place, in ``sentences.txt``.

``python -m tests.sentences`` writes it; a test says when it is out of date. To read it in one go
shows two words for one thing, and what has to be read twice.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click

import buildbot_selfserve
from buildbot_selfserve import new_token
from buildbot_selfserve.client.command import selfserve

PACKAGE = Path(buildbot_selfserve.__file__).parent
FILE = Path(__file__).with_name("sentences.txt")
#: Arguments whose text is shown.
SHOWN = {"description", "detail", "expected", "help", "msg", "summary", "title"}

_HIDDEN = re.compile(r"\{#.*?#\}|\{%.*?%\}|<(script|style)\b.*?</\1>", re.DOTALL)
_ATTRIBUTE = re.compile(r'\b(?:aria-label|title|placeholder|value)="([^"]*[a-z]{2}[^"]*)"')
_BLOCK = re.compile(
    r"</?(?:a|button|caption|dd|details|div|dl|dt|fieldset|footer|form|h\d|header|label|legend|li"
    r"|main|nav|ol|option|p|section|select|summary|table|tbody|td|tfoot|th|thead|title|tr|ul)\b"
    r"[^>]*>|\n\s*\n"
)


def listed() -> str:
    """Return all sentences, under the files that they stand in."""
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        found[_name(path)] = [*_in_module(ast.parse(path.read_text("utf-8")))]
    for path in sorted((PACKAGE / "templates").glob("*.html")):
        found[_name(path)] = [*_in_template(path.read_text("utf-8"))]
    found["selfserve --help"] = [*_in_command("selfserve", selfserve)]
    found["selfserve-token --help"] = [*_in_parser(new_token.make_parser())]
    lines = []
    for place, sentences in found.items():
        if sentences:
            lines += ["", place, *(f"    {one}" for one in dict.fromkeys(sentences))]
    return "\n".join(lines[1:]) + "\n"


def _name(path: Path) -> str:
    return path.relative_to(PACKAGE.parent).as_posix()


def _in_module(module: ast.Module) -> Iterator[str]:
    """Yield the texts of errors and of arguments that are shown, and what routes say they do."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            is_error = name in _errors() or ast.unparse(node.func) == "super().__init__"
            shown = [one.value for one in node.keywords if one.arg in SHOWN]
            for argument in [*(node.args if is_error else ()), *shown]:
                yield from _texts(argument)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(
            "declare" in ast.unparse(one) for one in node.decorator_list
        ):
            yield from _plain(ast.get_docstring(node) or "")


def _errors() -> set[str]:
    from buildbot_selfserve import errors
    from buildbot_selfserve.client import errors as of_client

    return {
        name
        for module in (errors, of_client)
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }


def _texts(node: ast.expr) -> Iterator[str]:
    """Yield the texts that an argument may have; what is put into them is ``{...}``."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from _plain(node.value)
    elif isinstance(node, ast.JoinedStr):
        parts = [
            str(one.value) if isinstance(one, ast.Constant) else "{...}" for one in node.values
        ]
        yield from _plain("".join(parts))
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body)
        yield from _texts(node.orelse)


def _in_template(text: str) -> Iterator[str]:
    text = re.sub(r"\{\{.*?\}\}", "{...}", _HIDDEN.sub(" ", text), flags=re.DOTALL)
    for match in _ATTRIBUTE.finditer(text):
        yield from _plain(match[1])
    for part in _BLOCK.split(text):
        yield from _plain(re.sub(r"<[^>]*>", "", part))


def _in_command(name: str, command: click.Command) -> Iterator[str]:
    for text in (command.help, command.epilog):
        yield from (f"{name}: {one}" for one in _plain(text or ""))
    for option in command.params:
        if isinstance(option, click.Option) and option.help and not option.hidden:
            yield from (f"{name} {option.opts[0]}: {one}" for one in _plain(option.help))
    for one in getattr(command, "commands", {}).values():
        yield from _in_command(f"{name} {one.name}", one)


def _in_parser(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield from _plain(parser.format_help())


def _plain(text: str) -> Iterator[str]:
    """Yield the paragraphs of *text* that say something, each as one line."""
    for part in re.split(r"\n\s*\n", text):
        line = " ".join(part.split())
        if re.search(r"[A-Za-z]{2}", line.replace("{...}", "")):
            yield line


if __name__ == "__main__":
    FILE.write_text(listed(), "utf-8")
