// SPDX-License-Identifier: BSL-1.0
// `import joblot;`: the names of joblot/joblot.hpp, per_worker.hpp, random.hpp and stop_on_signal.hpp, as a module. What the
// reference names is exported; a program may use headers of joblot in other files, for they are the same entities.
module;

#include <joblot/joblot.hpp>
#include <joblot/per_worker.hpp>
#include <joblot/random.hpp>
#include <joblot/stop_on_signal.hpp>

export module joblot;

export namespace joblot {

// ---- tasks and calls
using joblot::delayed;
using joblot::delayed_function;
using joblot::Parallel;
using joblot::task;
using joblot::task_range;
using joblot::task_result_t;

// ---- options
using joblot::auto_batch;
using joblot::everything;
using joblot::keep;
using joblot::on_stop;
using joblot::options;
using joblot::per_job;
using joblot::prefer;
using joblot::require;
using joblot::sharedmem;
using joblot::time_limit;

// ---- results
using joblot::generator;
using joblot::outcome;
using joblot::per_worker;
using joblot::persisted;
using joblot::reduced;
using joblot::unordered_generator;

// ---- errors
using joblot::backend_error;
using joblot::cancelled;
using joblot::failed_task;
using joblot::process_end;
using joblot::register_error_category;
using joblot::register_exception;
using joblot::remote_error;
using joblot::serialization_error;
using joblot::task_info;
using joblot::timeout_error;
using joblot::worker_crashed;

// ---- backends and guards
using joblot::backend;
using joblot::backend_choice;
using joblot::backend_options;
using joblot::backend_traits;
using joblot::effective_n_jobs;
using joblot::init;
using joblot::parallel_backend;
using joblot::processes;
using joblot::register_backend;
using joblot::sequential;
using joblot::start_method;
using joblot::threads;

// ---- data
using joblot::broadcast;
using joblot::broadcasted;
using joblot::enable_concurrent_read;
using joblot::enable_copy;
using joblot::never_travels;
using joblot::travel;
using joblot::travels_as_bytes;
using joblot::travels_as_container;

// ---- random numbers
using joblot::exponential;
using joblot::normal;
using joblot::philox4x64;
using joblot::random_bits_64;
using joblot::shuffle;
using joblot::uniform01;
using joblot::uniform_int;

// ---- progress, signals, versions
using joblot::cpu_count;
using joblot::progress_bar;
using joblot::progress_event;
using joblot::progress_state;
using joblot::progress_text;
using joblot::stop_on_signal;
using joblot::version;

} // namespace joblot

export namespace joblot::this_task {
using joblot::this_task::index;
using joblot::this_task::rng;
using joblot::this_task::seed;
using joblot::this_task::stop_requested;
using joblot::this_task::stop_token;
using joblot::this_task::worker_id;
} // namespace joblot::this_task
