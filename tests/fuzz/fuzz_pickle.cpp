// SPDX-License-Identifier: BSL-1.0
// Fuzzes the reader of pickles, which come from workers: every value is looked at, and described as an exception.
// Broken ones give a serialization_error, and nothing else.

#include <joblot/dask/protocol/events.hpp>
#include <joblot/dask/protocol/pickle_reader.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <span>
#include <vector>

namespace {

using namespace joblot::dask::engine;

void visit(const pickle_tree& tree) {
    std::set<pickle_tree::value> seen;
    std::vector<pickle_tree::value> left{tree.root()};
    while (!left.empty()) {
        const pickle_tree::value v = left.back();
        left.pop_back();
        if (!seen.insert(v).second) continue;
        std::size_t sum = 0;
        for (const char c : tree.text(v)) sum += static_cast<unsigned char>(c);
        for (const char c : tree.name(v)) sum += static_cast<unsigned char>(c);
        if (sum && tree.kind(v) == pickle_kind::integer) std::abort(); // a number has no text
        const auto& inner = tree.elements(v);
        left.insert(left.end(), inner.begin(), inner.end());
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const bytes_view input = std::as_bytes(std::span(data, size));
    try {
        visit(pickle_tree({input.begin(), input.end()}));
    } catch (const joblot::serialization_error&) {
    }
    static_cast<void>(describe_exception({input.begin(), input.end()}));
    return 0;
}
