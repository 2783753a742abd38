// SPDX-License-Identifier: BSL-1.0
// A library is unloaded, and another one is loaded, which mostly gets its place: `unloaded_main ONE OTHER`. A function
// of the other one is not taken for one of the first, in worker processes either, and who looks for the first is told
// so.

#include "../../support/engine.hpp"

#include <joblot/joblot.hpp>

#include <dlfcn.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ranges>
#include <string>
#include <vector>

namespace {

namespace detail = joblot::detail;
using function = int (*)(int);

void require(bool right, const char* what) {
    if (right) return;
    std::fprintf(stderr, "failed: %s\n", what);
    std::_Exit(1);
}

void* load(const char* file) {
    void* const library = ::dlopen(file, RTLD_NOW | RTLD_LOCAL);
    require(library, "a library is loaded");
    return library;
}
function function_of(void* library) { return reinterpret_cast<function>(::dlsym(library, "plugin_value")); }

std::vector<int> run(function f) {
    return joblot::Parallel({.n_jobs = 1, .backend = "processes"})(std::views::iota(0, 3) |
                                                                   std::views::transform(joblot::delayed(f)));
}

} // namespace

int main(int argc, char** argv) {
    if (const char* const files = std::getenv("LINKAGE_PLUGINS")) { // a worker has both
        const std::string both = files;
        load(both.substr(0, both.find(':')).c_str());
        load(both.substr(both.find(':') + 1).c_str());
    } else if (argc == 3) {
        ::setenv("LINKAGE_PLUGINS", (std::string(argv[1]) + ':' + argv[2]).c_str(), 1);
    }
    joblot::init(argc, argv);
    ::alarm(100);
    require(argc == 3, "two libraries are named");

    void* const one = load(argv[1]);
    const function f = function_of(one);
    require(run(f) == std::vector{0, 2, 4}, "a function of the first library runs in worker processes");
    const detail::code_location place = detail::locate(reinterpret_cast<std::uintptr_t>(f));
    require(::dlclose(one) == 0, "it is unloaded");

    const function g = function_of(load(argv[2]));
    std::printf("the other library is %s\n", f == g ? "where the first one was" : "elsewhere");
    require(run(g) == std::vector{0, 3, 6}, "a function of the other library is not taken for one of the first");
    std::string told;
    try {
        detail::resolve(place, true);
    } catch (const joblot::serialization_error& e) {
        told = e.what();
    }
    require(told.find("not loaded") != std::string::npos, "the first library is not found any more");
}
