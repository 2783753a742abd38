// SPDX-License-Identifier: BSL-1.0
// Everything in a message was written by somebody: what MemorySanitizer says of the bytes that values become. Its
// runtime is only told of what it compiles itself, which the codec is to the last byte.

#include <joblot/wire/batch_protocol.hpp>
#include <joblot/wire/codec.hpp>
#include <joblot/wire/worker_greeting.hpp>

#include <sanitizer/msan_interface.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace {

struct char_double {
    char c;
    double d;
};
struct nested {
    char c;
    char_double pairs[2];
    long double l;
    std::array<char_double, 2> more;
};
struct with_bits {
    unsigned a : 3;
    bool b : 1;
    char c;
};

int failures = 0;

void check(const char* what, bool right) {
    if (right) return;
    std::printf("%s: some of its bytes were never written\n", what);
    ++failures;
}

bool initialised(const void* bytes, std::size_t size) { return __msan_test_shadow(bytes, size) == -1; }

bool initialised(const joblot::detail::outgoing& message) {
    bool all = initialised(message.stream.data(), message.stream.size());
    for (const auto block : message.blocks) all = all && initialised(block.data(), block.size());
    return all;
}

template <class T>
void check_sent(const char* what, const T& value) {
    joblot::detail::outgoing message;
    joblot::detail::encoder to(message);
    joblot::detail::encode(to, value);
    check(what, initialised(message));
}

template <class T>
void check_put(const char* what, const T& value) {
    joblot::detail::outgoing message;
    message.put(value);
    check(what, initialised(message));
}

/// An object in memory that nobody has written to. Its members are to be set.
template <class T>
std::unique_ptr<T> fresh() {
    return std::unique_ptr<T>(new T);
}

void function() {}

} // namespace

int main() {
    const auto simple = fresh<char_double>();
    simple->c = 'a';
    simple->d = 1;
    if (initialised(simple.get(), sizeof(char_double))) {
        std::puts("the sanitizer does not see padding");
        return EXIT_FAILURE;
    }
    check_sent("a class with padding", *simple);

    const auto deep = fresh<nested>();
    deep->c = 'b';
    deep->l = 2;
    for (char_double* const x : {&deep->pairs[0], &deep->pairs[1], &deep->more[0], &deep->more[1]}) {
        x->c = 'c';
        x->d = 3;
    }
    check_sent("nested ones", *deep);

    const auto bits = fresh<with_bits>();
    bits->a = 5;
    bits->b = true;
    bits->c = 'd';
    check_sent("bit-fields", *bits);

    const auto number = fresh<long double>();
    *number = 4;
    check_sent("a long double", *number);

    for (const std::size_t n : {std::size_t{3}, std::size_t{1000}}) {
        check_sent("a vector", std::vector<char_double>(n, *simple));
        check_sent("a vector of long double", std::vector<long double>(n, *number));
    }
    check_sent("an optional", std::optional<char_double>(*simple));
    check_sent("a pair", std::pair<char, char_double>('e', *simple));
    check_sent("a function", &function);
    check_put("the head of a batch", joblot::detail::run_request{});
    check_put("the greeting of a worker", joblot::detail::worker_hello{});
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
