// SPDX-License-Identifier: BSL-1.0
// What a batch is on the wire: the request that asks a worker for some tasks, and the results that it gives.
#pragma once

#include <joblot/wire/archive.hpp>
#include <joblot/wire/entry.hpp>
#include <joblot/wire/parcel.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace joblot::detail {

/// Head of a `run` frame. It is followed by a part for each task; where results are combined, by one before them that
/// says how.
struct run_request {
    std::uint64_t sequence = 0;     ///< number of the request; comes back with its results
    code_location runner{};         ///< what runs the tasks
    std::uint64_t first = 0;        ///< index of the first task in the call; the others follow
    std::uint32_t count = 0;        ///< how many tasks
    std::int32_t worker_id = 0;     ///< what `this_task::worker_id()` gives
    std::int64_t timeout = 0;       ///< for each task, in nanoseconds; 0: none
    std::int32_t depth = 0;         ///< how many calls the tasks are nested in
    std::int32_t inner_threads = 0; ///< `inner_max_num_threads`; 0: not set
    std::uint32_t one_by_one = 0;   ///< 1: somebody waits for each single result
    std::uint32_t combines = 0;     ///< 1: the worker combines the results
    std::uint64_t call = 0;         ///< number of the call: its workers keep values from batch to batch
    std::uint64_t unused = 0;
    code_location common{}; ///< the function that is named for all parts; offset 0: none
};
static_assert(sizeof(run_request) % stream_alignment == 0); // what follows is aligned

/// Head of a `results` frame. It is followed by a part for each task; where results are combined, those of the tasks
/// hold no values, and one part more holds what was made of them.
struct run_results {
    std::uint64_t sequence = 0; ///< of the request
    std::uint32_t begin = 0;    ///< position of the first task in the request
    std::uint32_t count = 0;    ///< how many tasks
    std::uint32_t last = 0;     ///< 1: these are the last ones of the request
    std::uint32_t failed = 0;   ///< how many tasks of the request have failed so far: known without reading the parts
    std::int64_t took = 0;      ///< nanoseconds that the tasks of the request have run so far
};
static_assert(sizeof(run_results) % stream_alignment == 0);

/// What a part of a `results` frame holds; its mark.
enum class task_result_kind : std::uint32_t {
    value = 1,  ///< the encoded result
    exception,  ///< an encoded exception
    skipped,    ///< nothing: the task was not started, as nobody wants it any more
    unreadable, ///< an encoded exception: the input could not be read (in a process that was forked)
    uncombined  ///< an encoded exception: results could not be combined
};

/// What a worker and its owner tell each other while tasks run, without a message. Lives in memory that both share; for
/// a worker that shares none, in its own.
struct task_board {
    static constexpr std::uint64_t nothing = std::numeric_limits<std::uint64_t>::max();

    // Written by the worker. seq_cst with `limit`: either the worker sees the limit before it starts a task, or the
    // owner sees which task it is on.
    std::atomic<std::uint64_t> current{nothing}; ///< index of the task that runs
    std::atomic<std::int64_t> started{0};        ///< when it started, on the steady clock, in nanoseconds
    // Written by the owner.
    std::atomic<std::size_t> limit{nothing}; ///< tasks at this index or above must not start
    std::atomic<std::uint64_t> consumed{0};  ///< how many `results` frames have been read to their end
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<std::size_t>::is_always_lock_free);

} // namespace joblot::detail
