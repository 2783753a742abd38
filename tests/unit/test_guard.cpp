// SPDX-License-Identifier: BSL-1.0
// parallel_backend: what it puts into force on its thread, seen through the settings themselves.

#include <joblot/parallel_backend.hpp>

#include <catch2/catch_test_macros.hpp>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

namespace {

using joblot::parallel_backend;
using joblot::detail::scope;
using joblot::detail::scope_here;

bool nothing_set() {
    const scope here = scope_here();
    return !here.engine && !here.n_jobs && !here.verbose && !here.inner_max_num_threads && here.depth == 0;
}

} // namespace

TEST_CASE("a guard sets what it says and restores the rest", "[guard]") {
    CHECK(nothing_set());
    {
        const parallel_backend outer{"threads", {.n_jobs = 4, .verbose = 10, .inner_max_num_threads = 2}};
        CHECK(scope_here().engine->name() == "ThreadingBackend");
        CHECK(scope_here().n_jobs == 4);
        CHECK(scope_here().verbose == 10);
        CHECK(scope_here().inner_max_num_threads == 2);
        {
            const parallel_backend inner{{.n_jobs = 5}};
            CHECK(scope_here().engine->name() == "ThreadingBackend");
            CHECK(scope_here().n_jobs == 5);
            CHECK(scope_here().verbose == 10);
            CHECK(scope_here().inner_max_num_threads == 2);
        }
        {
            const parallel_backend inner{joblot::sequential{}};
            CHECK(scope_here().engine->name() == "SequentialBackend");
            CHECK(scope_here().n_jobs == 4);
        }
        CHECK(scope_here().n_jobs == 4);
        CHECK(scope_here().engine->name() == "ThreadingBackend");
    }
    CHECK(nothing_set());
}

TEST_CASE("a description's fields are defaults that the second argument overrides", "[guard]") {
    const parallel_backend typed{joblot::threads{.n_jobs = 4, .inner_max_num_threads = 1}};
    CHECK(scope_here().n_jobs == 4);
    CHECK(scope_here().inner_max_num_threads == 1);
    const parallel_backend overridden{joblot::threads{.n_jobs = 4}, {.n_jobs = 6, .verbose = 3}};
    CHECK(scope_here().n_jobs == 6);
    CHECK(scope_here().verbose == 3);
}

TEST_CASE("every name of a built-in backend", "[guard]") {
    for (const char* name : {"threads", "threading"}) {
        const parallel_backend guard{name};
        CHECK(scope_here().engine->name() == "ThreadingBackend");
    }
    const parallel_backend guard{std::string{"sequential"}};
    CHECK(scope_here().engine->name() == "SequentialBackend");
    CHECK(scope_here().engine->traits().in_caller);
}

TEST_CASE("a guard is seen by its own thread only", "[guard]") {
    const parallel_backend guard{"sequential", {.n_jobs = 3}};
    bool clean = false;
    std::thread{[&clean] { clean = nothing_set(); }}.join();
    CHECK(clean);
    CHECK(scope_here().n_jobs == 3);
}

TEST_CASE("a guard whose construction fails changes nothing", "[guard]") {
    CHECK_THROWS_AS(parallel_backend("no_such_backend"), std::invalid_argument);
    CHECK_THROWS_AS(parallel_backend("threads", {.n_jobs = 0}), std::invalid_argument);
    CHECK_THROWS_AS(parallel_backend(joblot::backend_options{.verbose = -1}), std::invalid_argument);
    CHECK_THROWS_AS(parallel_backend(std::shared_ptr<joblot::backend>{}), std::invalid_argument);
    CHECK(nothing_set());
}

TEST_CASE("effective_n_jobs asks the active backend about the active number of jobs", "[guard]") {
    using joblot::effective_n_jobs;
    CHECK(effective_n_jobs(3) == 3);
    CHECK(effective_n_jobs(-1) == joblot::cpu_count());
    CHECK_THROWS_AS(effective_n_jobs(0), std::invalid_argument);
    const parallel_backend guard{joblot::threads{.n_jobs = 3}};
    CHECK(effective_n_jobs() == 3);
    CHECK(effective_n_jobs(5) == 5);
    const parallel_backend sequential{"sequential"};
    CHECK(effective_n_jobs() == 1);
    CHECK(effective_n_jobs(5) == 1);
}
