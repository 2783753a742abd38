// SPDX-License-Identifier: BSL-1.0
// Places in the code that another process of the same build understands.

#include <joblot/wire/entry.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <dlfcn.h>

namespace {

using joblot::serialization_error;
using joblot::detail::code_location;
using joblot::detail::locate;
using joblot::detail::main_module;
using joblot::detail::resolve;
using joblot::detail::runner_entry;

int called = 0;
void run(joblot::detail::decoder&, joblot::detail::encoder&, joblot::detail::result_listener&) { ++called; }
const runner_entry first(&run);
const runner_entry second(&run);

int function() { return 1; }
int data = 1;

template <class T>
std::uintptr_t address(T* p) {
    return reinterpret_cast<std::uintptr_t>(p);
}

} // namespace

TEST_CASE("code and data of the executable are found again", "[wire][entry]") {
    const code_location place = locate(address(&function));
    CHECK(place.module == main_module().id);
    CHECK(place.offset != 0);
    CHECK(resolve(place, true) == address(&function));
    CHECK(resolve(locate(address(&data)), false) == address(&data));
    CHECK_THROWS_AS(resolve(locate(address(&data)), true), serialization_error); // that is no code
}

TEST_CASE("so is code of shared libraries", "[wire][entry]") {
    const std::uintptr_t in_library = address(::dlsym(RTLD_NEXT, "qsort"));
    REQUIRE(in_library != 0);
    const code_location place = locate(in_library);
    CHECK(place.module != main_module().id);
    CHECK(resolve(place, true) == in_library);
    CHECK(resolve(locate(address(&function)), true) == address(&function)); // and the executable's after it
}

TEST_CASE("every module has an identity of its own", "[wire][entry]") {
    CHECK(main_module().id != joblot::detail::module_id{});
    std::vector<joblot::detail::module_id> seen;
    joblot::detail::find_module([&](const joblot::detail::loaded_module& m) {
        CHECK(std::find(seen.begin(), seen.end(), m.id) == seen.end());
        seen.push_back(m.id);
        return false;
    });
    CHECK(seen.size() > 1);
}

TEST_CASE("what is in no module has no place", "[wire][entry]") {
    const auto on_heap = std::make_unique<int>(1);
    CHECK_THROWS_AS(locate(address(on_heap.get())), serialization_error);
    CHECK_THROWS_AS(locate(0), serialization_error);
    CHECK_THROWS_AS(locate(~std::uintptr_t{0}), serialization_error);
}

TEST_CASE("places that do not exist", "[wire][entry]") {
    CHECK_THROWS_AS(resolve({}, true), serialization_error);
    code_location other_build = locate(address(&function));
    other_build.module[3] ^= std::byte{1};
    CHECK_THROWS_AS(resolve(other_build, true), serialization_error);
    for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{1} << 45, ~std::uint64_t{0}}) {
        CHECK_THROWS_AS(resolve({.module = main_module().id, .offset = offset}, true), serialization_error);
        CHECK_THROWS_AS(resolve({.module = main_module().id, .offset = offset}, false), serialization_error);
    }
}

TEST_CASE("runners are found by their places, and nothing else is", "[wire][entry]") {
    CHECK(&runner_entry::at(first.location()) == &first);
    CHECK(&runner_entry::at(second.location()) == &second);
    CHECK_THROWS_AS(runner_entry::at(locate(address(&function))), serialization_error);
    CHECK_THROWS_AS(runner_entry::at(locate(address(&data))), serialization_error);
    CHECK_THROWS_AS(runner_entry::at({}), serialization_error);
    for (const std::uint64_t shift : {std::uint64_t{1}, std::uint64_t{8}, sizeof(runner_entry) * 1'000'000}) {
        code_location near = first.location();
        near.offset += shift;
        if (near.offset == second.location().offset) continue;
        CHECK_THROWS_AS(runner_entry::at(near), serialization_error);
    }
    CHECK(called == 0);
}
