// SPDX-License-Identifier: BSL-1.0
// Says what a program exports, where Python asks for that: see dask/exported.hpp.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/system/privileges.hpp>
#include <joblot/system/visibility.hpp>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace joblot::detail {

/// The only argument of a program that is asked.
inline constexpr std::string_view catalogue_argument = "--joblot-exports";

/// Prints what there is, as JSON; null where the program exports nothing.
JOBLOT_ONE_PER_PROCESS inline std::atomic<void (*)()>& catalogue_printer() noexcept {
    static constinit std::atomic<void (*)()> print{nullptr};
    return print;
}

/// If this program was asked, answers, and never returns.
template <class = void>
void print_catalogue_if_asked(int argc, char** argv) {
    if (argc != 2 || argv[1] != catalogue_argument || is_privileged()) return;
    if (const auto print = catalogue_printer().load())
        print();
    else
        std::puts("{\"functions\": []}");
    std::fflush(stdout);
    std::_Exit(0); // static objects are left alone
}

} // namespace joblot::detail
