// SPDX-License-Identifier: BSL-1.0
// Clusters that are to start where something is missing: a folder for files, a working directory, a Python,
// descriptors, or with a configuration that no Dask can start with. They start, or one line says what is wrong, and
// nothing is left.

#include "cluster.hpp"
#include "environment.hpp"
#include "failure.hpp"

#include <joblot/dask/client.hpp>
#include <joblot/dask/net/own_certificate.hpp>

#include <fcntl.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string>

namespace {

namespace fs = std::filesystem;
using joblot::dask::Client;
using joblot::dask::local_cluster_options;
using support::contains;
using support::failure_of;
using support::variable;

/// A cluster that starts here runs tasks; "" then, else what was thrown.
std::string trouble(const std::string& python = support::dask_python(), std::optional<bool> tls = {}) {
    bool works = true;
    const std::string text = failure_of([&] {
        const Client client(local_cluster_options{
            .threads_per_worker = 1, .dashboard_address = "", .python = python, .tls = tls}); // bokeh costs 1.3 s
        works = client.ncores().size() == 1 &&
                support::all_right(joblot::Parallel({.backend = joblot::dask::backend{.client = &client}})
                                       .map(support::right_value, std::views::iota(0, support::tasks_in_call)));
    });
    return text == "nothing was thrown" ? (works ? "" : "wrong results") : text;
}
/// What is told is one line that can be read.
void check_is_a_line(const std::string& text) {
    INFO(text);
    CHECK(text.starts_with("joblot: "));
    CHECK(text.find('\n') == text.npos);
    CHECK(text.size() < 600);
}

} // namespace

TEST_CASE("a folder for temporary files that does not exist is named, with its variable", "[hostile]") {
    const support::scratch_dir dir;
    std::ofstream(dir.file("file")).flush();
    const std::map<std::string, std::string> places{{dir.file("missing"), "No such file or directory"},
                                                    {"missing/too", "No such file or directory"},
                                                    {dir.file("file"), "Not a directory"},
                                                    {"/proc", "none can be made"}};
    for (const auto& [place, why] : places) {
        const variable folder("TMPDIR", place);
        const std::string told = trouble();
        check_is_a_line(told);
        CHECK(contains(told, place + " (from the environment variable TMPDIR)"));
        CHECK(contains(told, why));
    }
}

TEST_CASE("a cluster starts where the working directory has been deleted", "[hostile]") {
    const support::scratch_dir dir;
    const int before = ::open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    REQUIRE(before >= 0);
    fs::create_directory(dir.file("gone"));
    REQUIRE(::chdir(dir.file("gone").c_str()) == 0);
    fs::remove(dir.file("gone"));
    const std::string told = trouble();
    const variable folder("TMPDIR", ".");
    const std::string without_both = trouble();
    REQUIRE(::fchdir(before) == 0);
    ::close(before);
    CHECK(told == "");
    check_is_a_line(without_both);
    CHECK(contains(without_both, ". (from the environment variable TMPDIR)"));
}

TEST_CASE("a cluster starts without a home", "[hostile]") {
    for (const auto& home : {std::optional<std::string>(), std::optional<std::string>("/nonexistent")}) {
        const variable set("HOME", home);
        CHECK(trouble() == "");
    }
}

TEST_CASE("no Python, or one that cannot be used: which, and why", "[hostile]") {
    const support::scratch_dir dir;
    const auto fake = [&](const std::string& name, const std::string& script) {
        std::ofstream(dir.file(name)) << "#!/bin/sh\n" << script << "\n";
        fs::permissions(dir.file(name), fs::perms::owner_all);
        return dir.file(name);
    };
    std::map<std::string, std::string> told{
        {trouble(dir.file("missing")), "No such file or directory"},
        {trouble(fake("without", "echo joblot False False")), "has no Dask"},
        {trouble(fake("broken", "echo no such codec >&2; exit 3")), "ended with status 3: no such codec"},
        {trouble(fake("other", "echo hello")), "it printed \"hello\""},
        {trouble(fake("lies", "case \"$*\" in *find_spec*) echo joblot True False;; *) echo is broken; exit 5;; esac")),
         "ended with status 5: is broken"}};
    {
        const variable none("JOBLOT_PYTHON", std::nullopt);
        const variable no_environment("VIRTUAL_ENV", std::nullopt);
        const variable no_conda("CONDA_PREFIX", std::nullopt);
        const variable path("PATH", dir.path());
        told[trouble("")] = "python3 (from PATH) does not run: No such file or directory";
    }
    for (const auto& [text, why] : told) {
        check_is_a_line(text);
        CHECK(contains(text, why));
    }
}

TEST_CASE("settings of Dask that break its start are told", "[hostile]") {
    const support::scratch_dir dir;
    std::ofstream(dir.file("bad.yaml")) << "a: [b";
    struct setting {
        const char* name;
        std::string value, told;
    };
    for (const setting& s : {setting{"DASK_CONFIG", dir.file("bad.yaml"), "bad.yaml"},
                             setting{"DASK_DISTRIBUTED__SCHEDULER__PRELOAD", "no_such_module", "no_such_module"},
                             setting{"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION", "True", "TLS"},
                             setting{"DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME", "foo", "foo"}}) {
        const variable set(s.name, s.value);
        const std::string text = trouble(support::dask_python(), false);
        check_is_a_line(text);
        CHECK(contains(text, s.told));
    }
    if constexpr (joblot::dask::engine::has_tls) {
        const variable encryption("DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION", "True"); // which it has
        const variable elsewhere("DASK_DISTRIBUTED__COMM__TLS__CA_FILE", "/missing");    // is for another cluster
        CHECK(trouble() == "");
    }
}

TEST_CASE("few descriptors: a cluster that works, or a line that says so", "[hostile]") {
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    for (const rlim_t n : {5U, 12U, 16U, 20U, 64U}) {
        CAPTURE(n);
        rlimit few = before;
        few.rlim_cur = n;
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
        const std::string text = trouble();
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
        if (text.empty()) continue;
        check_is_a_line(text);
        INFO(text);
        // What Dask's processes lack shows in many ways, of which some come first on a busy machine.
        if (n == 5) CHECK(contains(text, "oo many open files"));
    }
}
