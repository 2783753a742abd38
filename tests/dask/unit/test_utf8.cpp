// SPDX-License-Identifier: BSL-1.0
// Which text may go to a cluster, and what is said of other text.

#include <joblot/dask/utf8.hpp>

#include <catch2/catch_test_macros.hpp>

#include <stdexcept>
#include <string>

using joblot::dask::engine::check_utf8;
using joblot::dask::engine::is_utf8;

TEST_CASE("text is UTF-8 where Python says so") {
    for (const char* text : {"", "GPU", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x9a\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                             "\xf4\x8f\xbf\xbf", "a\xc2\x80z"})
        CHECK(is_utf8(text));
    for (const char* text :
         {"\xff", "\x80", "\xc3", "\xc3(", "\xc0\xaf", "\xc1\xbf", "\xe0\x80\xaf", "\xe2\x82", "\xe2\x82z",
          "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "caf\xe9", "\xf0\x9f\x9a"})
        CHECK_FALSE(is_utf8(text));
    CHECK(is_utf8(std::string("a\0b", 3)));
}

TEST_CASE("other text is refused by name") {
    check_utf8("workers", "caf\xc3\xa9");
    const auto told = [](const std::string& text) -> std::string {
        try {
            check_utf8("workers", text);
        } catch (const std::invalid_argument& e) {
            return e.what();
        }
        return "";
    };
    CHECK(told("caf\xe9\n") ==
          "joblot: workers = \"caf\\xe9\\x0a\": Dask takes text in UTF-8 alone, and this is none; convert it");
    CHECK(told(std::string(1000, '\xff')).size() < 600);
}
