"""hosts.yml as text: YAML turned into plain values, with the line of every field kept.

PyYAML composes nodes (which have lines), and the values are built here: the safe YAML types only, duplicate
keys found, and the readings of YAML 1.1 that surprise people (`on`, `010`, `12:30`) remembered or refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from pgha_orch.inventory.findings import FieldPath, Finding, Problem, dotted, shown

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]

MAX_BYTES = 1 << 20  # an inventory of 1000 hosts has 100 KiB
_TAG = "tag:yaml.org,2002:"
_LARGEST = 1 << 63
_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_SIMPLE_TAGS = {_TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp", "value")}


@dataclass
class Source:
    """One file: its values, the line of each field, and what YAML 1.1 made of plain words."""

    file: Path
    values: Plain = None
    lines: dict[FieldPath, int] = field(default_factory=dict)
    surprises: dict[FieldPath, str] = field(default_factory=dict)  # path -> the word as written
    findings: list[Finding] = field(default_factory=list)

    def line(self, path: FieldPath) -> int:
        """Line of a field, or of the nearest mapping around it that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def place(self, problem: Problem) -> Finding:
        """Give a problem its file and line."""
        return Finding(
            self.file,
            self.line(problem.path),
            dotted(problem.path),
            problem.value,
            problem.message,
            problem.hint,
        )

    def _add(self, line: int, path: FieldPath, value: str, message: str, hint: str) -> None:
        self.findings.append(Finding(self.file, line, dotted(path), value, message, hint))


class _Loader(yaml.SafeLoader):
    """SafeLoader without aliases: every field then has one place, and no file grows on reading."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, f"alias *{event.anchor}", event.start_mark)
        return super().compose_node(parent, index)


def read(file: Path) -> Source:
    """Read and parse a file. What keeps it from being a mapping of fields is in `findings`, never raised."""
    source = Source(file)
    text = _read_text(source)
    if text is None:
        return source
    root = _compose(source, text)
    if root is None:
        if not source.findings:
            source._add(1, (), "", "the file is empty", f"start from examples/lab.yml: cp examples/lab.yml {file}")
        return source
    source.values = _build(source, root, ())
    if not isinstance(source.values, dict) and not source.findings:
        kind = "a list" if isinstance(source.values, list) else "a single value"
        source._add(
            root.start_mark.line + 1,
            (),
            "" if isinstance(source.values, list) else shown(source.values),
            f"the file holds {kind}, not fields",
            "an inventory is `field: value` lines, as in examples/lab.yml",
        )
    return source


def _read_text(source: Source) -> str | None:
    file = source.file

    def refuse(message: str, hint: str, line: int = 0) -> None:
        source._add(line, (), "", message, hint)

    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        near = sorted(p.name for p in file.parent.glob("*.y*ml"))[:5] if file.parent.is_dir() else []
        refuse("no such file", f"there is {', '.join(near)}" if near else "start from examples/lab.yml")
    except IsADirectoryError:
        refuse("a directory, not a file", f"give the file in it, such as {file / 'hosts.yml'}")
    except PermissionError:
        refuse("not permitted to read it", f"chmod u+r {file}, or run as its owner")
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the name
        refuse(f"cannot be read: {getattr(exc, 'strerror', None) or exc}", "give the path of a YAML file")
    else:
        if len(data) > MAX_BYTES:
            refuse(f"larger than {MAX_BYTES >> 10} KiB", "this is not an inventory: give the path of hosts.yml")
            return None
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            line = data.count(b"\n", 0, exc.start) + 1
            refuse(
                f"byte 0x{data[exc.start]:02x} is not UTF-8 text",
                f"save it as UTF-8: iconv -t UTF-8 {file}",
                line,
            )
    return None


# What PyYAML says (a part of it), said for someone who has not read the YAML specification.
_SYNTAX: tuple[tuple[str, str, str], ...] = (
    (
        "alias *",
        "YAML aliases (`*name`) and merge keys are not used here",
        "write the value out in each place",
    ),
    ("that cannot start any token", "this character cannot start a value", "put the value in quotes"),
    (
        "mapping values are not allowed",
        "a `:` where none can be",
        "check the indentation, or quote the value",
    ),
    ("found another document", "a second `---` document", "keep one cluster in one file"),
    ("could not find expected ':'", "a line without `: `", "write `field: value`, or check the indentation"),
    (
        "expected <block end>",
        "the indentation does not fit the lines above",
        "indent all fields of a block alike",
    ),
    ("expected ',' or", "a `[` or `{` without its end", "close it, and put commas between its items"),
    ("end of stream", "a quote or bracket without its end", "close it"),
    ("special characters are not allowed", "a control character", "remove it"),
    ("found undefined alias", "YAML aliases are not used here", "write the value out in each place"),
    ("unacceptable character", "a control character", "remove it"),
)


def _compose(source: Source, text: str) -> yaml.Node | None:
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as exc:
        # An unclosed quote or bracket is found at its end, and mended where it began.
        opened = exc.context is not None and ("quoted scalar" in exc.context or "flow" in exc.context)
        mark = exc.context_mark if opened else exc.problem_mark or exc.context_mark
        _syntax_error(source, text, mark.line + 1 if mark else 1, exc.problem or str(exc))
    except yaml.reader.ReaderError as exc:
        _syntax_error(source, text, text.count("\n", 0, exc.position) + 1, str(exc.reason))
    except RecursionError:
        source._add(1, (), "", "nested too deeply", "an inventory needs five levels at most")
    finally:
        if loader is not None:
            loader.dispose()
    return None


def _syntax_error(source: Source, text: str, line: int, problem: str) -> None:
    lines = text.splitlines()
    for number in range(min(line, len(lines)), 0, -1):
        indent = lines[number - 1][: len(lines[number - 1]) - len(lines[number - 1].lstrip())]
        if "\t" in indent:
            source._add(number, (), "", "a tab in the indentation", "YAML indents with spaces only: replace it")
            return
    for part, message, hint in _SYNTAX:
        if part in problem:
            source._add(line, (), "", f"not YAML: {message}", hint)
            return
    source._add(line, (), "", f"not YAML: {problem}", "see examples/lab.yml")


def _build(source: Source, node: yaml.Node, path: FieldPath) -> Plain:
    """Values of a node, with the lines below it noted. What is wrong goes to `findings` and becomes null."""
    line = node.start_mark.line + 1
    source.lines.setdefault(path, line)
    if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
        return _build_mapping(source, node, path)
    if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
        return [_build(source, item, (*path, i)) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode) and node.tag in _SIMPLE_TAGS:
        return _build_scalar(source, node, path)
    source._add(line, path, node.tag.removeprefix(_TAG), "a YAML tag that is not used here", "remove the `!` tag")
    return None


def _build_mapping(source: Source, node: yaml.MappingNode, path: FieldPath) -> dict[str, Plain]:
    built: dict[str, Plain] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            source._add(line, path, "", "a list or mapping as a key", "a key is one word")
            continue
        key: str = key_node.value
        if key_node.tag == _TAG + "merge":
            source._add(line, path, "<<", "YAML merge keys are not used here", "write the fields out in each place")
        elif not key.isprintable():
            source._add(line, path, shown(key), *_unprintable(key))
        elif key_node.tag != _TAG + "str":
            kind = key_node.tag.removeprefix(_TAG)
            source._add(line, (*path, key), "", f"YAML reads this key as {_KINDS.get(kind, kind)}", f'write "{key}":')
        elif key in built:
            first = source.lines[(*path, key)]
            source._add(line, (*path, key), "", f"given twice, on lines {first} and {line}", "keep one of the two")
        else:
            source.lines[(*path, key)] = line
            built[key] = _build(source, value_node, (*path, key))
    return built


def _unprintable(word: str) -> tuple[str, str]:
    """No field holds two lines or control characters: they would change the meaning of a config file."""
    if "\n" in word.strip("\n"):
        return "more than one line", "write one line; for a list, one `- ` item each"
    code = next(ord(c) for c in word if not c.isprintable())
    return f"a character that cannot be used: U+{code:04X}", "remove it, or type it again by hand"


_KINDS = {
    "bool": "true or false",
    "int": "a number",
    "float": "a number",
    "null": "nothing",
    "timestamp": "a date",
}


def _build_scalar(source: Source, node: yaml.ScalarNode, path: FieldPath) -> Plain:
    word: str = node.value
    kind = node.tag.removeprefix(_TAG)
    if not word.isprintable():
        source._add(node.start_mark.line + 1, path, shown(word), *_unprintable(word))
        return None
    if kind not in ("int", "float", "bool", "null"):
        return word  # a date stays the text that it is
    try:
        value: Plain = _CONSTRUCT[kind](node)
    except (ValueError, KeyError, IndexError):
        source._add(node.start_mark.line + 1, path, shown(word), f"not {_KINDS[kind]}", "remove the `!!` tag")
        return None
    if kind in ("int", "float"):
        message = None
        if isinstance(value, int) and abs(value) > _LARGEST:
            source._add(
                node.start_mark.line + 1, path, shown(word, 20), "far too large a number", "write a smaller one"
            )
            return None
        if ":" in word:
            message = f"YAML reads this as minutes and seconds: {value}"
        elif kind == "int" and _OCTAL.fullmatch(word):
            message = f"YAML reads a number with a leading zero as octal: {value}"
        elif isinstance(value, float) and not math.isfinite(value):
            message = "not a finite number"
        if message:
            hint = f'write "{word}" in quotes for text, or a plain number'
            source._add(node.start_mark.line + 1, path, shown(word), message, hint)
            return None
    if word != shown(value):
        source.surprises[path] = word
    return value


_constructor = yaml.constructor.SafeConstructor()
_CONSTRUCT: dict[str, Callable[[yaml.ScalarNode], Plain]] = {
    "int": _constructor.construct_yaml_int,
    "float": _constructor.construct_yaml_float,
    "bool": _constructor.construct_yaml_bool,
    "null": lambda node: None,
}
