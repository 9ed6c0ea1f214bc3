"""Every Nix file parses, is laid out by nixfmt, and has no name that nobody uses.

The parser is tree-sitter's, which PyPI has, so that this runs without a Nix; nixfmt runs where there is one, and
deadnix and statix are the flake's own checks.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import tree_sitter_nix
import yaml
from evaluator import IMAGES, REPO, Nix
from tree_sitter import Language, Node, Parser

FILES = sorted(
    path
    for path in [
        REPO / "flake.nix",
        *(p for d in ("nix", "images", "tests") for p in (REPO / d).rglob("*.nix")),
    ]
    if "rendered" not in path.parts
)
LONGEST = 150
PARSER = Parser(Language(tree_sitter_nix.language()))

file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPO)))


def _tree(path: Path) -> Node:
    # The grammar on PyPI is older than the comma that nixfmt puts after the last argument.
    return PARSER.parse(re.sub(rb",(\s*\})(?=\s*[:@])", rb" \1", path.read_bytes())).root_node


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _walk(child)


def _text(node: Node) -> str:
    return (node.text or b"").decode()


def _uses(scope: Node) -> set[str]:
    """Names that are read below a node."""
    found = set()
    for node in _walk(scope):
        if node.type == "variable_expression":
            found.add(_text(node))
        elif node.type == "inherit":
            found |= {_text(name) for child in node.named_children for name in child.named_children}
    return found


@file
def test_it_parses(path: Path) -> None:
    broken = [node.start_point[0] + 1 for node in _walk(_tree(path)) if node.is_error or node.is_missing]
    assert broken == []


@file
def test_nix_parses_it(nix: Nix, path: Path) -> None:
    nix.parse(path.read_text())


@file
def test_nixfmt_has_nothing_to_change(path: Path) -> None:
    program = shutil.which("nixfmt")
    if program is None:
        pytest.skip("no nixfmt here: `nix flake check` runs it as lint-nixfmt")
    done = subprocess.run([program, "--check", path], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@file
def test_every_argument_and_binding_is_used(path: Path) -> None:
    unused = []
    for node in _walk(_tree(path)):
        if node.type == "function_expression" and (body := node.child_by_field_name("body")):
            formals = next((child for child in node.children if child.type == "formals"), None)
            names = (
                [_text(f.named_children[0]) for f in formals.named_children if f.type == "formal"] if formals else []
            )
            defaults = _uses(formals) if formals else set()
            unused += [name for name in names if name not in _uses(body) | defaults]
        if node.type == "let_expression":
            names = [
                _text(binding.named_children[0]).partition(".")[0]
                for child in node.named_children
                if child.type == "binding_set"
                for binding in child.named_children
                if binding.type == "binding"
            ]
            unused += [name for name in names if name not in _uses(node)]
    assert unused == []


@file
def test_with_is_used_nowhere(path: Path) -> None:
    assert [node.start_point[0] + 1 for node in _walk(_tree(path)) if node.type == "with_expression"] == []


@file
def test_it_is_short_enough_to_read(path: Path) -> None:
    limit = 100 if path.name == "flake.nix" else LONGEST
    assert len(path.read_text().splitlines()) <= limit


def test_the_lock_is_of_the_flakes_inputs() -> None:
    nodes = json.loads((REPO / "flake.lock").read_text())["nodes"]
    flake = (REPO / "flake.nix").read_text()
    urls = {name: f"github:{o['owner']}/{o['repo']}" + (f"/{o['ref']}" if "ref" in o else "")
            for name, node in nodes.items() if (o := node.get("original"))}  # fmt: skip
    assert set(nodes["root"]["inputs"]) == set(urls) == {"nixpkgs", "nixos-generators"}
    assert all(f'"{url}"' in flake for url in urls.values()), urls
    for node in (nodes[name]["locked"] for name in urls):
        assert re.fullmatch("[0-9a-f]{40}", node["rev"])
        assert re.fullmatch(r"sha256-[A-Za-z0-9+/]{43}=", node["narHash"])


def test_the_workflow_builds_every_image_by_the_commands_that_the_readme_has() -> None:
    workflow = (REPO / ".github/workflows/nix.yml").read_text()
    jobs = yaml.safe_load(workflow)["jobs"]
    assert jobs["image"]["strategy"]["matrix"]["image"] == list(IMAGES)
    readme = (REPO / "nix/README.md").read_text()
    commands = re.findall(r"run: (nix .*)", workflow)
    assert len(commands) == 3
    for command in commands:
        # Options of the CI's own: logs, and how much at once.
        plain = re.sub(r" --(print-build-logs|max-jobs \d+)", "", command).replace("${{ matrix.image }}", "pg-node")
        assert plain in readme, command
