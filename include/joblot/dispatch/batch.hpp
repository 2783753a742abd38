// SPDX-License-Identifier: BSL-1.0
// What a worker claims: some consecutive tasks of a call; and what may be done with them, whatever their types.
#pragma once

#include <joblot/error.hpp>

#include <cstddef>
#include <memory>
#include <string>

namespace joblot {

class batch;
class job;
class worker;

namespace detail {

// wire/: what tasks and results are written to and read from, where they run in another process
class encoder;
class decoder;
class result_listener;
class any_partial;

/// How the results of a call are combined into one, without their types; see reduction.hpp. Thread-safe.
class any_reduction {
public:
    any_reduction(const any_reduction&) = delete;
    any_reduction& operator=(const any_reduction&) = delete;

    /// Writes what a worker has to know before it runs tasks of the call.
    virtual void write_opening(encoder& to) const = 0;
    /// What a process that was forked off combines its results in.
    [[nodiscard]] virtual std::unique_ptr<any_partial> partial() const = 0;
    /// Reads what a worker made of `count` results of tasks `first` to `last`, and combines it with what is there.
    /// @throws serialization_error It is not that.
    virtual void take(decoder& from, std::size_t first, std::size_t last, std::size_t count) = 0;

protected:
    any_reduction() = default;
    ~any_reduction() = default;
};

/// Tasks and the places of their results, without their types: all of a call, or those that were read for one batch.
/// They are named by their indices in the call. Thread-safe for different tasks.
class any_tasks {
public:
    any_tasks() = default;
    virtual ~any_tasks() = default;
    any_tasks(const any_tasks&) = delete;
    any_tasks& operator=(const any_tasks&) = delete;

    /// Runs the tasks of a batch on this thread. Gives how many of them ended.
    /// @param careful Whether there are time limits, retries or outcomes.
    virtual std::size_t run(job& j, worker& w, const batch& b, bool careful) = 0;
    /// Makes a task's call and keeps its result. Throws what the task throws.
    /// @param keep_task Whether it may be made again.
    virtual void attempt(std::size_t index, bool keep_task) = 0;
    /// A result, if there is one, came too late.
    virtual void drop_result(std::size_t index) = 0;
    /// Keeps a failure as a result, where the call wants that.
    virtual bool keep_failure(std::size_t index, failure f) = 0;
    /// The result of an attempt stands. It was made at that try.
    virtual void result_stands(std::size_t index, int tries) = 0;
    [[nodiscard]] virtual std::string label(std::size_t index) noexcept = 0;

    // --- for tasks that run in other processes, see remote_batches.hpp

    /// Writes a task. What it refers to stays until the batch is settled.
    virtual void encode(std::size_t index, encoder& to) = 0;
    /// Runs a task in a process that was forked off, and writes its result. Throws what the task throws.
    virtual void run_forked(std::size_t index, encoder& to, result_listener& then) = 0;
    /// Reads and keeps a result. @throws serialization_error It is not one.
    virtual void decode(std::size_t index, decoder& from) = 0;
};

} // namespace detail

/// Some consecutive tasks of a call, claimed by one worker. Whoever claims a batch must run it.
class batch {
public:
    batch() = default;
    batch(std::size_t first, std::size_t size, detail::any_tasks* tasks = nullptr) noexcept
        : first_(first), size_(size), tasks_(tasks) {}

    /// Index of its first task.
    [[nodiscard]] std::size_t first() const noexcept { return first_; }
    /// How many tasks it holds; 0 means that there was nothing to claim.
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    explicit operator bool() const noexcept { return size_ != 0; }

    /// What its tasks are among; of no meaning to a backend.
    [[nodiscard]] detail::any_tasks* tasks() const noexcept { return tasks_; }

private:
    std::size_t first_ = 0;
    std::size_t size_ = 0;
    detail::any_tasks* tasks_ = nullptr;
};

} // namespace joblot
