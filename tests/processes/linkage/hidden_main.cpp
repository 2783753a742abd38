// SPDX-License-Identifier: BSL-1.0
// A program and libraries that were compiled with hidden visibility share what a process has once: a guard reaches the
// libraries' calls, their tasks know of the program's, there is one pool, and types are caught. The library is linked,
// or loaded: `hidden_main local|global LIBRARY...`. Built with APART, it is a program that does not export its symbols.

#include "hidden.hpp"
#include "problems.hpp"
#include "support/thread_count.hpp"

#include <joblot/joblot.hpp>

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ranges>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace views = std::views;
using hidden::problem;
using joblot::Parallel;
using joblot::parallel_backend;

void require(bool right, const char* what) {
    if (right) return;
    std::fprintf(stderr, "failed: %s\n", what);
    std::_Exit(1);
}

#if defined(LINKED)
std::vector<const hidden::parts*> libraries(int, char**) { return {hidden_parts()}; }
void unload() {}
#else
std::vector<void*> loaded;

/// `dlclose`, as a program does that is done with its plugins. What they have left in the process is called later.
void unload() {
    for (void* library : loaded) ::dlclose(library);
}

/// Workers get what to load from the environment: they are started without the program's arguments.
std::vector<const hidden::parts*> libraries(int argc, char** argv) {
    std::string files;
    for (int i = 2; i < argc; ++i) files += std::string(argv[i]) + '\n';
    if (!std::getenv("LINKAGE_LIBRARIES")) {
        ::setenv("LINKAGE_LIBRARIES", files.c_str(), 1);
        ::setenv("LINKAGE_HOW", argc > 1 ? argv[1] : "", 1);
    }
    files = std::getenv("LINKAGE_LIBRARIES");
    const int how = std::getenv("LINKAGE_HOW") == std::string("global") ? RTLD_GLOBAL : RTLD_LOCAL;
    std::vector<const hidden::parts*> found;
    for (const auto file : views::split(files, '\n')) {
        const std::string name(file.begin(), file.end());
        if (name.empty()) continue;
        void* const library = ::dlopen(name.c_str(), RTLD_NOW | how);
        require(library, "a library is loaded");
        loaded.push_back(library);
        using entry = const hidden::parts* (*)();
        found.push_back(reinterpret_cast<entry>(::dlsym(library, "hidden_parts"))());
    }
    return found;
}
#endif

struct own_backend final : joblot::backend {
    [[nodiscard]] std::string name() const override { return "Own"; }
    [[nodiscard]] int effective_n_jobs(int) const override { return 1; }
    void run(joblot::job& j) override {
        do j.work(0);
        while (j.wait());
    }
};

[[maybe_unused]] void guard_reaches(const hidden::parts& library) {
    const parallel_backend threads(joblot::threads{.n_jobs = 7});
    require(library.n_jobs() == 7, "a guard's n_jobs reach the library");
    require(library.knows_backend("own"), "the library knows the program's backend by name");
    for (const auto method : {joblot::start_method::spawn, joblot::start_method::fork}) {
        const parallel_backend processes(joblot::processes{.n_jobs = 2, .start_method = method});
        const auto used = library.processes_used();
        require(used.size() == 4 && std::ranges::count(used, ::getpid()) == 0, "a guard's processes run its tasks");
    }
    const auto used = library.processes_used();
    require(std::ranges::count(used, ::getpid()) == 4, "and threads where the inner guard is gone");
}

[[maybe_unused]] void tasks_are_known(const hidden::parts& library) {
    const auto knows = [&](std::size_t i) { return library.has_task(i) ? 1 : 0; };
    const auto known = Parallel({.n_jobs = 2}).map(knows, views::iota(std::size_t{0}, std::size_t{20}));
    require(std::ranges::count(known, 1) == 20, "the library's this_task is that of the program's call");
    require(!library.has_task(0) && !library.stop_requested(), "there is none outside");
    std::stop_source stop;
    const auto wait = [&](int) {
        stop.request_stop();
        while (!library.stop_requested()) std::this_thread::yield();
        return 0;
    };
    bool cancelled = false;
    try {
        Parallel({.n_jobs = 2, .stop = stop.get_token()}).map(wait, views::iota(0, 10));
    } catch (const joblot::cancelled&) {
        cancelled = true;
    }
    require(cancelled, "a stop of the program's call is seen in the library");
    require(library.is_stopped(stop.get_token()), "a stop ends a call of the library");
}

[[maybe_unused]] void errors_are_caught(const hidden::parts& library) {
    using enum problem;
    for (const problem p : {cancelled, timeout, backend, crash, remote, serialization}) {
        require(problems::are_caught(p, library.throw_it), "what the library throws is caught by its type");
        require(library.catches(p, problems::throws), "what the program throws is caught in the library");
    }
    try {
        library.throw_it(problem::backend);
    } catch (const joblot::error& e) {
        require(joblot::failed_task(e).has_value(), "which task of the library it was");
    }
    require(library.failed_task(problems::throws) == 3, "which task of the program it was");
    bool as_itself = false;
    try {
        library.throw_own();
    } catch (const std::runtime_error& e) {
        as_itself = std::string(e.what()) == "the library's own";
    }
    require(as_itself, "an exception that the library made known comes back from a worker");
}

#if defined(APART)
/// What the guide says of such a program: each part works by itself, and types are caught all the same.
void parts_work(const hidden::parts& library) {
    library.threads_after_call(4);
    const auto fails = [&] {
        try {
            library.throw_own();
        } catch (const joblot::backend_error& e) {
            return std::string(e.what()).find("-rdynamic") != std::string::npos;
        }
        return false;
    };
    require(fails(), "a library that does not see joblot::init says what can be the matter");
    require(problems::are_caught(problem::timeout, library.throw_it), "what the library throws is caught by its type");
    require(library.catches(problem::timeout, problems::throws), "what the program throws is caught in the library");
}
#else
void parts_work(const hidden::parts& library) {
    guard_reaches(library);
    tasks_are_known(library);
    errors_are_caught(library);
}
#endif

} // namespace

int main(int argc, char** argv) {
    const auto all = libraries(argc, argv); // before init: workers have to know what they are to run
    joblot::init(argc, argv);
    ::alarm(100);
    joblot::register_backend("own", [] { return std::make_shared<own_backend>(); });
    require(!all.empty(), "there is a library");
    const auto call = [] { Parallel({.n_jobs = 4}).map([](int i) { return i; }, views::iota(0, 100)); };
    std::thread([] {}).join(); // the thread sanitizer has a thread of its own from the first one on
    [[maybe_unused]] const int before = support::thread_count();
    for (const hidden::parts* library : all) library->threads_after_call(4);
    call();
#if !defined(APART)
    require(support::thread_count() == before + 3, "there is one pool of threads");
#endif
    for (const hidden::parts* library : all) parts_work(*library);
    unload();
    const parallel_backend again("threads");
    call();
    std::puts("all parts of the program work as they should");
}
