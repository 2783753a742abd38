// SPDX-License-Identifier: BSL-1.0
// Keys that group in the dashboard under the function's name.
#include <joblot/dask/protocol/task_key.hpp>

#include <catch2/catch_test_macros.hpp>

#include <string>

using joblot::dask::engine::fresh_key;
using joblot::dask::engine::task_group;

TEST_CASE("a label is the group as it is, without what would end it or break the text", "[dask][task_key]") {
    CHECK(task_group("simulate") == "simulate");
    CHECK(task_group("app::simulate<int>") == "app::simulate<int>");
    CHECK(task_group("a label-with 2-3 parts") == "a label_with 2_3 parts");
    CHECK(task_group("two\nlines\x7f") == "two_lines_");
    CHECK(task_group("gr\xc3\xb6\xff") == "gr___");
    CHECK(task_group("") == "task");
    CHECK(task_group(std::string(5000, 'x')).size() == 100);
}

TEST_CASE("keys differ, and are the group up to the first dash that no word follows", "[dask][task_key]") {
    const std::string one = fresh_key("simulate", "joblot-1f2e");
    const std::string other = fresh_key("simulate", "joblot-1f2e");
    CHECK(one != other);
    CHECK(one.starts_with("simulate-"));
    CHECK(one.ends_with("-joblot-1f2e"));
    CHECK(one.at(9) >= '0');
    CHECK(one.at(9) <= '9');
}
