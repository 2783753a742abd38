// SPDX-License-Identifier: BSL-1.0
// A program that forgot `joblot::init`: the error shows the line to add, and main is not run a second time.

#include "program.hpp"

#include <atomic>

namespace {

int square(int i) { return i * i; }

std::string refusal(const joblot::backend_choice& backend) {
    try {
        joblot::Parallel({.n_jobs = 2, .backend = backend}).map(square, std::views::iota(0, 4));
    } catch (const joblot::backend_error& e) {
        return e.what();
    }
    return "no backend_error";
}

} // namespace

int main(int argc, char**) {
    program::watchdog();
    // a second main would be told that it is a worker; but it must not come to that
    program::require(argc == 1, "main was run a second time");
    program::require(!std::getenv("JOBLOT_TEST_MAIN_RAN"), "main was run a second time");
    ::setenv("JOBLOT_TEST_MAIN_RAN", "1", 1);

    for (const joblot::backend_choice& backend :
         {joblot::backend_choice("processes"), joblot::backend_choice(joblot::processes{.n_jobs = 1}),
          joblot::backend_choice(joblot::processes{.start_method = joblot::start_method::fork})}) {
        const std::string text = refusal(backend);
        program::require(text.find("joblot::init(argc, argv);") != std::string::npos, "the line to add: " + text);
        program::require(text.find("main") != std::string::npos, "where to add it: " + text);
    }
    program::require(::waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD, "there is a child process");
    const auto squares = joblot::Parallel({.n_jobs = 2}).map(square, std::views::iota(0, 4));
    program::require(squares == std::vector{0, 1, 4, 9}, "threads need no init");
    const auto hinted =
        joblot::Parallel({.n_jobs = 2, .prefer = joblot::prefer::processes}).map(square, std::views::iota(0, 4));
    program::require(hinted == std::vector{0, 1, 4, 9}, "a hint is only a hint");
}
