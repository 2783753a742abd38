// SPDX-License-Identifier: BSL-1.0
// Standard exceptions that a program makes known by an include and a call: what arrives from worker processes.

#include "../support/backends.hpp"
#include "../support/wire.hpp"

#include <joblot/std_exceptions.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <filesystem>
#include <future>
#include <ios>
#include <regex>
#include <string>
#include <system_error>
#include <typeinfo>

namespace {

namespace fs = std::filesystem;
using joblot::delayed;
using joblot::Parallel;

// Worker processes come by here, too.
[[maybe_unused]] const bool registered = (joblot::register_std_exceptions(), true);

/// What `f` throws: here, and in a worker process.
template <class E, class F>
void compare(F f, void (*compare_with)(const E& here, const E& arrived)) {
    try {
        f();
        FAIL("it throws nothing");
    } catch (const E& here) {
        try {
            static_cast<void>(Parallel({.n_jobs = 1, .backend = "processes"})(delayed(f)()));
            FAIL("the call throws nothing");
        } catch (const E& arrived) {
            CHECK(std::string(arrived.what()) == here.what());
            compare_with(here, arrived);
        }
    }
}

/// The exception after another two journeys, as from a worker's own worker.
std::exception_ptr sent_on(std::exception_ptr error, int times) {
    for (; times != 0; --times) {
        support::outgoing message;
        support::encoder to(message);
        joblot::detail::encode_exception(to, error);
        support::decoder from(support::incoming(message.stream, message.blocks));
        error = joblot::detail::decode_exception(from, "process 4711");
    }
    return error;
}

} // namespace

TEST_CASE("errors of the file system arrive with paths, code and text", "[exceptions]") {
    const auto same = [](const fs::filesystem_error& here, const fs::filesystem_error& arrived) {
        CHECK(typeid(arrived) == typeid(here));
        CHECK(arrived.code() == here.code());
        CHECK(arrived.path1() == here.path1());
        CHECK(arrived.path2() == here.path2());
    };
    compare<fs::filesystem_error>([] { return fs::file_size("/there is none"); }, same);
    compare<fs::filesystem_error>([] { fs::rename("/there is none", "/nor here"); }, same);
    compare<fs::filesystem_error>([] { throw fs::filesystem_error("\xff", "", "\xfe", {}); }, same);
    compare<fs::filesystem_error>([] { throw fs::filesystem_error("", {5, std::system_category()}); }, same);
}

TEST_CASE("errors of regular expressions arrive with code and text, also from a worker's worker", "[exceptions]") {
    const auto same = [](const std::regex_error& here, const std::regex_error& arrived) {
        CHECK(arrived.code() == here.code());
    };
    compare<std::regex_error>([] { return std::regex("[z-a]").mark_count(); }, same);
    compare<std::regex_error>([] { throw std::regex_error(std::regex_constants::error_stack); }, same);
    try {
        std::rethrow_exception(
            sent_on(std::make_exception_ptr(std::regex_error(std::regex_constants::error_paren)), 2));
    } catch (const std::regex_error& e) {
        CHECK(e.code() == std::regex_constants::error_paren);
        CHECK(std::string(e.what()) == std::regex_error(std::regex_constants::error_paren).what());
    }
}

TEST_CASE("errors of futures and streams arrive as what they are", "[exceptions]") {
    compare<std::future_error>(
        [] {
            std::promise<int> none;
            static_cast<void>(none.get_future());
            static_cast<void>(none.get_future());
        },
        [](const std::future_error& here, const std::future_error& arrived) { CHECK(arrived.code() == here.code()); });
    compare<std::ios_base::failure>([] { throw std::ios_base::failure("read", std::io_errc::stream); },
                                    [](const std::ios_base::failure& here, const std::ios_base::failure& arrived) {
                                        CHECK(arrived.code() == here.code());
                                    });
}
