// SPDX-License-Identifier: BSL-1.0
// The one line that is told of what a Python wrote before it ended.

#include <joblot/dask/local/last_words.hpp>

#include <catch2/catch_test_macros.hpp>

#include <string>

using joblot::dask::engine::despair;
using joblot::dask::engine::lack;
using joblot::dask::engine::last_words;

TEST_CASE("the last exception is told, and what it was raised from") {
    const std::string first = "Traceback (most recent call last):\n"
                              "  File \"a.py\", line 1, in <module>\n"
                              "    f()\n"
                              "    ^^^\n"
                              "OSError: [Errno 98] Address already in use\n";
    CHECK(last_words(first) == "OSError: [Errno 98] Address already in use");
    const std::string cause = "\nThe above exception was the direct cause of the following exception:\n\n";
    const std::string second = "Traceback (most recent call last):\n  File \"b.py\", line 7\nRuntimeError: failed\n";
    CHECK(last_words(first + cause + second) == "RuntimeError: failed (OSError: [Errno 98] Address already in use)");
    CHECK(last_words(first + second) == "RuntimeError: failed"); // two that have nothing to do with each other
    CHECK(last_words(first + cause + second + "INFO - End worker\n") ==
          "RuntimeError: failed (OSError: [Errno 98] Address already in use)");
    CHECK(last_words(first + "\nDuring handling of the above exception, another exception occurred:\n\n" + second) ==
          "RuntimeError: failed (OSError: [Errno 98] Address already in use)");
    CHECK(last_words("Traceback (most recent call last):\n  File \"c.py\", line 1\n^^^^\nmy.Error: no\n") ==
          "my.Error: no");
    CHECK(last_words("Traceback (most recent call last):\n  File \"c.py\"\nValueError: x is malformed:\n\n  a: [b\n") ==
          "ValueError: x is malformed");
}

TEST_CASE("what a process lacks that goes on is told when it says so again and again") {
    const std::string once = "Traceback (most recent call last):\n  OSError: [Errno 24] Too many open files\n";
    CHECK(lack("") == "");
    CHECK(lack(once, 3) == "");
    CHECK(despair(once) == "");
    CHECK(despair(once + once + once) == "OSError: [Errno 24] Too many open files");
    CHECK(despair("[Errno 2] No such file\n[Errno 2] No such file\n[Errno 2] No such file\n") == "");
    CHECK(despair(once + once + "MemoryError") == "MemoryError");
    const std::string given_up = "INFO - Closing Nanny at 'tcp://127.0.0.1:1'. Reason: nanny-instantiate-failed\n";
    CHECK(despair(once + "Traceback (most recent call last):\nAttributeError: no\n" + given_up) ==
          "OSError: [Errno 24] Too many open files");
    CHECK(despair("Traceback (most recent call last):\nAttributeError: no\n" + given_up) == "AttributeError: no");
}

TEST_CASE("without an exception it is the last line") {
    CHECK(last_words("") == "");
    CHECK(last_words("\n \n") == "");
    CHECK(last_words("Usage: ...\n\n  Error: no such option  \n\n") == "Error: no such option  ");
    CHECK(last_words("Traceback (most recent call last):\n  File") == "File");
    CHECK(last_words(std::string(100000, 'x')).size() == 400);
}
