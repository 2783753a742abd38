#!/usr/bin/env python3
"""Tests of extract.py: which blocks it finds, and what it makes of them."""

import unittest

from extract import BadBlock, read_blocks, sources_of

PAGE = """\
# Title
```sh
make it
```
```cpp
#include <vector>
using namespace std::chrono_literals;

// the call
int x = 1;
```
   ```cpp continues
   x = 2;
   ```
```cpp
#include <cstdio>
int main() { return 0; }
```
```cpp file
struct s {};
```
````
```cpp
not code: inside of another block
```
````
"""


class Extract(unittest.TestCase):
    def test_finds_every_block(self):
        self.assertEqual([(b.line, b.kind) for b in read_blocks("p.md", PAGE)],
                         [(6, "snippet"), (13, "continues"), (16, "file"), (20, "file")])

    def test_sources(self):
        sources, count = sources_of("docs/p.md", PAGE, "prelude.hpp")
        self.assertEqual(count, 4)
        self.assertEqual(sorted(sources), ["docs_p_16.cpp", "docs_p_20.cpp", "docs_p_snippets.cpp"])
        self.assertEqual(sources["docs_p_20.cpp"], '#line 20 "docs/p.md"\nstruct s {};\n')
        self.assertEqual(sources["docs_p_snippets.cpp"], """\
#include "prelude.hpp"
#line 6 "docs/p.md"
#include <vector>
namespace snippet_1 {
#line 7 "docs/p.md"
using namespace std::chrono_literals;
void snippet();
void snippet() {
#line 8 "docs/p.md"

// the call
int x = 1;
#line 13 "docs/p.md"
x = 2;
}
}
""")

    def test_page_without_blocks(self):
        self.assertEqual(sources_of("p.md", "text\n", "prelude.hpp"), ({}, 0))

    def assert_bad(self, page, reason):
        with self.assertRaisesRegex(BadBlock, reason):
            sources_of("p.md", page, "prelude.hpp")

    def test_unknown_word(self):
        self.assert_bad("```cpp skip\nint x;\n```\n", "p.md:1: 'cpp skip' is none of")

    def test_other_name_of_the_language(self):
        self.assert_bad("```c++\nint x;\n```\n", "p.md:1: 'c\\+\\+' is none of")

    def test_unclosed_block(self):
        self.assert_bad("```cpp\nint x;\n", "p.md: a block is never closed")

    def test_nothing_to_continue(self):
        self.assert_bad("```cpp continues\nint x;\n```\n", "p.md:2: continues nothing")


if __name__ == "__main__":
    unittest.main()
