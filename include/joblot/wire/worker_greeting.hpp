// SPDX-License-Identifier: BSL-1.0
// What a worker process is told when it starts, and what it answers.
#pragma once

#include <joblot/system/visibility.hpp>
#include <joblot/wire/entry.hpp>

#include <cstdint>

namespace joblot::detail {

/// Content of a `setup` frame.
struct worker_setup {
    std::uint64_t memory_limit = 0;
    code_location init{};   ///< offset 0: none
    std::int32_t level = 0; ///< how many worker processes are above this one, itself included
    std::uint32_t unused = 0;
};

/// Content of a `hello` frame.
struct worker_hello {
    std::uint32_t version = 0;
    std::int32_t pid = 0;
    module_id build{};
    std::uint32_t failed = 0; ///< 1: `init` threw; the exception follows
};

/// How deep worker processes may be nested: those of the program, and those of its workers.
inline constexpr int deepest_level = 2;

/// How deep this process is: 0 in the program that the user started.
JOBLOT_ONE_PER_PROCESS inline int& process_level() noexcept {
    static constinit int level = 0; // written before the worker runs anything
    return level;
}

} // namespace joblot::detail
