#!/usr/bin/env python3
"""Turns every C++ block of joblot's Markdown pages into source files that must compile.

    extract.py --out DIR PAGE.md...

The words behind ```cpp say how a block is compiled; no cpp block is left out:

    ```cpp              a snippet: leading #include and using lines stay at namespace scope, the rest is the body of a
                        function. Names that it does not define come from tests/docs/prelude.hpp. A block that holds
                        `int main` is a program, whatever else it says.
    ```cpp continues    goes on inside the function of the snippet before it on the page
    ```cpp file         a source file of its own, complete with its includes

All snippets of a page make one source file, every file block and program one more. #line directives point
compiler messages at the page. Prints the files in use, one per line; a file that is unchanged is not touched.
"""

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")
TOP_LEVEL = re.compile(r"\s*(#|//|using\b|namespace\s+\w+\s*=|$)")
PROGRAM = re.compile(r"^\s*int main\(", re.MULTILINE)
CPP = {"cpp", "c++", "cxx", "cc", "hpp"}


class BadBlock(Exception):
    """A block that follows no convention."""


@dataclass
class Block:
    page: str
    line: int  # of the first line of code, from 1
    kind: str  # snippet, continues or file
    code: list


def kind_of(info, page, line):
    """None for a block that is not C++."""
    words = info.split()
    if not words or words[0].lower() not in CPP:
        return None
    if words[0] != "cpp" or words[1:] not in ([], ["continues"], ["file"]):
        raise BadBlock(f"{page}:{line}: '{info.strip()}' is none of: cpp, cpp continues, cpp file")
    return words[1] if words[1:] else "snippet"


def read_blocks(page, text):
    """The C++ blocks of a page, in order."""
    blocks, fence, block = [], None, None
    for number, line in enumerate(text.splitlines(), 1):
        match = FENCE.match(line)
        if fence is None:
            if match:
                fence = match
                kind = kind_of(match["info"], page, number)
                block = Block(page, number + 1, kind, []) if kind else None
        elif match and match["fence"].startswith(fence["fence"]) and not match["info"].strip():
            if block:
                blocks.append(block)
            fence = block = None
        elif block:
            block.code.append(line.removeprefix(fence["indent"]))
    if fence is not None:
        raise BadBlock(f"{page}: a block is never closed")
    for block in blocks:
        if block.kind == "snippet" and PROGRAM.search("\n".join(block.code)):
            block.kind = "file"
    return blocks


def split_snippet(code):
    """How many leading lines stay at namespace scope."""
    lines = 0
    for number, line in enumerate(code, 1):
        if not TOP_LEVEL.match(line):
            break
        if line.strip() and not line.lstrip().startswith("//"):
            lines = number
    return lines


def located(block, start, stop):
    """Lines `start` to `stop` of a block, under a #line that names their place in the page."""
    return [f'#line {block.line + start} "{block.page}"', *block.code[start:stop]]


def snippet_source(blocks, prelude):
    """One source file of all snippets of a page."""
    includes, functions = [f'#include "{prelude}"'], []
    for number, block in enumerate(blocks, 1):
        if block.kind == "continues":
            if not functions:
                raise BadBlock(f"{block.page}:{block.line}: continues nothing")
            functions[-1][-1:] = [*located(block, 0, len(block.code)), "}"]
            continue
        top = split_snippet(block.code)
        scope = [f"namespace snippet_{number} {{"]
        for index in range(top):
            target = includes if block.code[index].lstrip().startswith("#") else scope
            target.extend(located(block, index, index + 1))
        functions.append([*scope, "void snippet();", "void snippet() {", *located(block, top, len(block.code)), "}"])
    text = list(includes)
    for function in functions:
        text += [*function, "}"]
    return "\n".join(text) + "\n"


def sources_of(page, text, prelude):
    """Maps the names of source files to their text."""
    stem = re.sub(r"\W+", "_", Path(page).with_suffix("").as_posix()).strip("_")
    blocks = read_blocks(page, text)
    sources = {f"{stem}_{block.line}.cpp": "\n".join(located(block, 0, len(block.code))) + "\n"
               for block in blocks if block.kind == "file"}
    snippets = [block for block in blocks if block.kind != "file"]
    if snippets:
        sources[f"{stem}_snippets.cpp"] = snippet_source(snippets, prelude)
    return sources, len(blocks)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the sources")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="pages are named relative to it")
    parser.add_argument("pages", type=Path, nargs="*")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    prelude = Path(__file__).with_name("prelude.hpp").as_posix()
    count, used = 0, []
    try:
        for page in args.pages:
            name = page.resolve().relative_to(args.root.resolve()).as_posix()
            sources, blocks = sources_of(name, page.read_text(encoding="utf-8"), prelude)
            count += blocks
            for file, text in sources.items():
                path = args.out / file
                used.append(path)
                if not path.exists() or path.read_text(encoding="utf-8") != text:
                    path.write_text(text, encoding="utf-8")
    except BadBlock as bad:
        print(bad, file=sys.stderr)
        return 1
    for path in used:
        print(path)
    print(f"docs: {count} C++ blocks on {len(args.pages)} pages", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
