#!/usr/bin/env python3
"""Shows that one_per_process.py accepts what is right and names, with its line, every kind of variable that is not."""

import unittest

from one_per_process import check, check_version

MARK = "JOBLOT_ONE_PER_PROCESS"


class OnePerProcess(unittest.TestCase):
    def assert_fine(self, *lines):
        self.assertEqual(list(check("a.hpp", "\n".join(("namespace joblot {", *lines, "}")))), [])

    def assert_red(self, line, reason, *lines):
        problems = list(check("a.hpp", "\n".join(("namespace joblot {", *lines, "}"))))
        self.assertEqual(len(problems), 1, problems)
        self.assertTrue(problems[0].startswith(f"a.hpp:{line}: ") and reason in problems[0], problems)

    def test_what_needs_no_mark(self):
        self.assert_fine("inline constexpr int a = 1;", "class b {", "    static constexpr int c{2};",
                         "    static int d(std::vector<int> x = {}) { return e(); }", "};",
                         "inline int f() { // static int no;", '    const char* g = "static int no;";',
                         "    static_assert(sizeof(int) == 4);", "    static constexpr int h = 1;", "}",
                         "struct i { static bool operator==(i, i) { return true; } };",
                         "#define J static int no;")

    def test_one_for_each_type_of_a_users(self):
        self.assert_fine("template <class T>", "struct a {", "    static inline int b = 0;", "};",
                         "template <class T>", "int c() {", "    static constinit int d;", "}")

    def test_hidden_on_purpose(self):
        self.assert_fine('[[gnu::visibility("hidden")]] inline const bool a = b();')

    def test_marked(self):
        self.assert_fine(f"{MARK} inline thread_local int* a = nullptr;", f"{MARK} inline int& b() {{",
                         "    if (true) {", "        static constinit int c;", "    }", "}",
                         f"class d {{ {MARK} static d& e() {{ static constinit d f; return f; }} }};")

    def test_variable_of_a_namespace(self):
        self.assert_red(3, "static variable", "// a", "inline std::atomic<void (*)(int)> a{nullptr};")
        self.assert_red(2, "static variable", "inline constinit thread_local int* a = nullptr;")
        self.assert_red(2, "static variable", "inline const bool a = [] { return true; }();")

    def test_member(self):
        self.assert_red(3, "static variable", "class a {", "    static inline int b;", "};")

    def test_variable_of_a_function(self):
        self.assert_red(3, "static variable", "inline int& a() {", "    static int b(1);", "    return b;", "}")
        self.assert_red(2, "static variable", "class a { int b() { thread_local c d; } };")
        self.assert_red(3, "static variable", "inline auto a() {", "    return [] { static int b; return b; };", "}")

    def test_template_that_is_used_once(self):
        self.assert_red(3, "static variable", "template <class = void>", "inline std::atomic<int> a{0};")
        self.assert_red(4, "g++ heeds", "template <class = void>", "class a {",
                        f"    {MARK} static int& b() {{ static int c; return c; }}", "};")
        self.assert_fine("template <class = void>", "class JOBLOT_ONE_TYPE a {",
                         f"    {MARK} static int& b() {{ static constinit int c; return c; }}", "};")

    def test_guard_of_a_static(self):
        self.assert_red(3, "guard", f"{MARK} inline int& a() {{", "    static int b = c();", "    return b;", "}")
        self.assert_red(4, "guard", "template <class T>", "int& a() {", "    static int b{c<T>()};", "    return b;", "}")
        self.assert_red(3, "guard", f"{MARK} inline auto& a() {{", "    static const auto* const b = new c;", "}")

    def test_exceptions(self):
        self.assert_red(2, "mark the exception a JOBLOT_ONE_TYPE", "class a : public backend_error {};")
        self.assert_red(2, "mark the exception a JOBLOT_ONE_TYPE", "struct a final : std::exception {};")
        self.assert_fine("class JOBLOT_ONE_TYPE a : public error {};", "class b : public error_listener {};")

    def test_version(self):
        version = {"version.hpp": "#define JOBLOT_VERSION_MAJOR 1\n#define JOBLOT_VERSION_MINOR 2\n"}
        layout = '#define JOBLOT_LAYOUT "joblot_1_2"\n#define JOBLOT_LAYOUT "joblot_%s_libcpp"\n'
        self.assertEqual(list(check_version(version | {"system/visibility.hpp": layout % "1_2"})), [])
        self.assertEqual(len(list(check_version(version | {"system/visibility.hpp": layout % "1_1"}))), 1)


if __name__ == "__main__":
    unittest.main()
