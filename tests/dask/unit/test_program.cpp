// SPDX-License-Identifier: BSL-1.0
// Digests, and the program as workers get it. That Python can read the plugins, tests/dask/shim shows.
#include <joblot/dask/program/program.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <span>
#include <string>
#include <string_view>

#include <unistd.h>

namespace {

namespace engine = joblot::dask::engine;

/// In pieces of `step` bytes.
std::string digest_of(std::string_view text, std::size_t step) {
    engine::sha256 digest;
    auto left = std::as_bytes(std::span(text));
    while (!left.empty()) {
        const std::size_t n = std::min(step, left.size());
        digest.update(left.first(n));
        left = left.subspan(n);
    }
    return digest.finish();
}

bool has(const std::vector<std::byte>& bytes, std::string_view text) {
    const auto part = std::as_bytes(std::span(text));
    return std::search(bytes.begin(), bytes.end(), part.begin(), part.end()) != bytes.end();
}

} // namespace

TEST_CASE("SHA-256 of what the standard gives as examples") {
    const auto expect = [](std::string_view text, std::string_view digest) {
        for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{63}, std::size_t{64},
                                       std::size_t{65}, std::size_t{1000000}}) {
            INFO(step);
            CHECK(digest_of(text, step) == digest);
        }
    };
    expect("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    expect("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
           "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    expect(
        "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqr"
        "stu",
        "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
    expect(std::string(1000000, 'a'), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("SHA-256 at the edges of blocks") { // from sha256sum
    CHECK(digest_of(std::string(55, 'x'), 55) == "d5e285683cd4efc02d021a5c62014694958901005d6f71e89e0989fac77e4072");
    CHECK(digest_of(std::string(56, 'x'), 56) == "04c26261370ee7541549d16dee320c723e3fd14671e66a099afe0a377c16888e");
    CHECK(digest_of(std::string(64, 'x'), 64) == "7ce100971f64e7001e8fe5a51973ecdfe1ced42befe7ee8d5fd6219506b5393c");
}

TEST_CASE("a program is known by its digest, however its file is called or replaced") {
    std::string path = "/tmp/joblot-test-program-XXXXXX";
    const int file = ::mkstemp(path.data());
    REQUIRE(file >= 0);
    ::close(file);
    std::ofstream(path) << "abc";
    const engine::program p(path);
    CHECK(p.digest() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(p.name() == "joblot-ba7816bf8f01cfea");
    std::remove(path.c_str());
    const engine::plugin plugin = p.for_workers();
    CHECK(plugin.name == std::string(engine::worker_shim_module) + "-" + p.name());
    CHECK(has(plugin.pickle, "abc"));
    CHECK(has(plugin.pickle, p.digest()));
    CHECK(has(plugin.pickle, "def run(payload, *images):"));
    CHECK_THROWS_AS(engine::program(path), joblot::backend_error);
}

TEST_CASE("the own program is this one") {
    const engine::program& own = engine::program::own();
    CHECK(own.digest() == engine::program("/proc/self/exe").digest());
    CHECK(&own == &engine::program::own());
}

TEST_CASE("the scheduler gets the module, but no program") {
    const engine::plugin plugin = engine::program::for_scheduler();
    CHECK(plugin.name == engine::worker_shim_module);
    CHECK(has(plugin.pickle, engine::worker_shim_source()));
    CHECK(plugin.pickle.size() < 100000);
}
