#!/usr/bin/env python3
"""Shows that include_graph.py accepts a good tree and turns red, for the stated reason, on every kind of bad one."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

CHECK = Path(__file__).with_name("include_graph.py")
OPENING = "// SPDX-License-Identifier: BSL-1.0\n// A header.\n#pragma once\n\n#include <joblot/core/requirements.hpp>\n"

GOOD = {
    "core/requirements.hpp": "// SPDX-License-Identifier: BSL-1.0\n// A header.\n#pragma once\n#include <version>\n",
    "error.hpp": OPENING + "#include <string>\n",
    "progress/event.hpp": OPENING,
    "dispatch/job.hpp": OPENING + "#include <joblot/error.hpp>\n#include <joblot/progress/event.hpp>\n",
    "progress/text.hpp": OPENING + '#include "event.hpp"\n#include <ostream>\n',
    "backend/backend.hpp": OPENING + "#include <joblot/dispatch/job.hpp>\n// #include <joblot/parallel.hpp>\n",
    "pool/thread_pool.hpp": OPENING,
    "backend/threads.hpp": OPENING + "#include <joblot/backend/backend.hpp>\n#include <joblot/pool/thread_pool.hpp>\n",
    "backend/sequential.hpp": OPENING + "#include <joblot/backend/backend.hpp>\n",
    "parallel.hpp": OPENING + "#include <joblot/backend/threads.hpp>\n",
    "joblot.hpp": OPENING + "#include <joblot/parallel.hpp>\n",
    "dask.hpp": OPENING + "#include <nlohmann/json.hpp>\n#include <joblot/parallel.hpp>\n",
}


class IncludeGraph(unittest.TestCase):
    def run_check(self, **changes):
        """Runs the check on the good tree after `changes` (name, with __ for /, to text; None removes it)."""
        tree = GOOD | {name.replace("__", "/") + ".hpp": text for name, text in changes.items()}
        with tempfile.TemporaryDirectory() as folder:
            for name, text in tree.items():
                if text is not None:
                    path = Path(folder) / "joblot" / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(text, encoding="utf-8")
            return subprocess.run([sys.executable, CHECK, folder], capture_output=True, text=True, check=False)

    def assert_red(self, reason, **changes):
        result = self.run_check(**changes)
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        self.assertIn(reason, result.stderr)
        self.assertIn("1 problems", result.stdout, result.stderr)  # this one and no other

    def test_good_tree(self):
        result = self.run_check()
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_requirements_that_come_late(self):
        late = OPENING.replace("#include <joblot", "#include <string>\n#include <joblot")
        self.assert_red("error.hpp: must include <joblot/core/requirements.hpp> before anything else", error=late)

    def test_upward_edge(self):
        self.assert_red("dispatch/job.hpp (floor 2) includes backend/backend.hpp (floor 3): an upward edge",
                        dispatch__job=OPENING + "#include <joblot/backend/backend.hpp>\n",
                        backend__backend=OPENING)

    def test_upward_edge_by_relative_path(self):
        self.assert_red("(floor 0) includes dispatch/job.hpp (floor 2)",
                        error=OPENING + '  #  include "dispatch/job.hpp"\n', dispatch__job=OPENING)

    def test_cycle_in_a_room(self):
        self.assert_red("include cycle: dispatch/a.hpp -> dispatch/b.hpp -> dispatch/a.hpp",
                        dispatch__a=OPENING + "#include <joblot/dispatch/b.hpp>\n",
                        dispatch__b=OPENING + "#include <joblot/dispatch/a.hpp>\n")

    def test_cycle_of_rooms(self):
        self.assert_red("cycle of rooms: progress -> dispatch -> progress",
                        dispatch__a=OPENING + "#include <joblot/progress/text.hpp>\n", progress__text=OPENING,
                        dispatch__b=OPENING, progress__bar=OPENING + "#include <joblot/dispatch/b.hpp>\n")

    def test_header_that_includes_itself(self):
        self.assert_red("include cycle: error.hpp -> error.hpp", error=OPENING + "#include <joblot/error.hpp>\n")

    def test_backend_that_knows_another(self):
        self.assert_red("a backend must not know another backend",
                        backend__sequential=OPENING + "#include <joblot/backend/threads.hpp>\n")

    def test_front_end_that_knows_the_cluster(self):
        self.assert_red("only Dask's own headers may", joblot=OPENING + "#include <joblot/dask.hpp>\n")

    def test_dask_may_pay(self):
        result = self.run_check(dask__client=OPENING + "#include <boost/asio.hpp>\n#include <map>\n#include <sstream>\n")
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_engines_that_know_each_other(self):
        self.assert_red("the engines must not know each other", process__pool=OPENING,
                        dask__client=OPENING + "#include <joblot/process/pool.hpp>\n")

    def test_expensive_standard_header(self):
        for header in ("iostream", "regex", "format", "unordered_map", "filesystem"):
            self.assert_red(f"includes <{header}>", error=OPENING + f"#include <{header}>\n")

    def test_stream_outside_of_progress(self):
        self.assert_red("includes <sstream>", dispatch__job=OPENING + "#include <sstream>\n")

    def test_json_and_asio_outside_of_dask(self):
        self.assert_red("includes <nlohmann/json.hpp>", parallel=OPENING + "#include <nlohmann/json.hpp>\n")
        self.assert_red("includes <boost/asio/post.hpp>", backend__threads=OPENING + "#include <boost/asio/post.hpp>\n")
        self.assert_red("includes <openssl/ssl.h>", parallel=OPENING + "#include <openssl/ssl.h>\n")

    def test_socket_in_the_dispatcher(self):
        self.assert_red("includes <sys/socket.h>", dispatch__job=OPENING + "#include <sys/socket.h>\n")

    def test_missing_header(self):
        self.assert_red("joblot/nowhere.hpp, which does not exist", error=OPENING + "#include <joblot/nowhere.hpp>\n")

    def test_header_without_room(self):
        self.assert_red("util/misc.hpp: belongs to no room", util__misc=OPENING)

    def test_opening(self):
        for text in ("", "#pragma once\n", OPENING.replace("// A header.\n", ""), OPENING.replace("#pragma once", ""),
                     "\n" + OPENING, OPENING.replace("BSL-1.0", "MIT")):
            self.assert_red("must start with the SPDX line", dispatch__job=text)

    def test_empty_tree(self):
        result = self.run_check(**{name.removesuffix(".hpp").replace("/", "__"): None for name in GOOD})
        self.assertEqual(result.returncode, 1)


if __name__ == "__main__":
    unittest.main()
