// SPDX-License-Identifier: BSL-1.0
// Reads pickles without running them: what a pickle would call or make stays a description of it. Enough to tell what
// exception a task ended with.
#pragma once

#include <joblot/error.hpp>
#include <joblot/wire/parcel.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// What a value of a pickle is.
enum class pickle_kind : std::uint8_t {
    none,
    boolean,
    integer,
    real,
    text,
    bytes,
    tuple,
    list, ///< or a set
    dict, ///< keys and values, in turns
    global,
    object, ///< the result of a call: what is called, its arguments, perhaps a state
    opaque  ///< anything else, e.g. a number of more than 64 bits
};

/// The values of one pickle. Values are numbers, so that they can contain each other in circles, as in Python.
class pickle_tree {
public:
    using value = std::uint32_t;
    /// No pickle needs more operations: it bounds the memory to some hundred MB.
    static constexpr std::size_t most_operations = 1U << 21;

    /// @throws serialization_error where the bytes are no pickle, or one with operations that Dask's do not have.
    explicit pickle_tree(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) { run(); }

    [[nodiscard]] value root() const noexcept { return root_; }
    [[nodiscard]] pickle_kind kind(value v) const { return nodes_.at(v).kind; }
    /// Of a boolean or integer.
    [[nodiscard]] std::int64_t integer(value v) const { return nodes_.at(v).integer; }
    [[nodiscard]] double real(value v) const { return std::bit_cast<double>(nodes_.at(v).integer); }
    /// Of a text or bytes; of a global "module".
    [[nodiscard]] std::string_view text(value v) const { return part(nodes_.at(v).first); }
    /// Of a global: "name".
    [[nodiscard]] std::string_view name(value v) const { return part(nodes_.at(v).second); }
    /// The elements of a container. Of an object: what is called, the tuple of its arguments, its states.
    [[nodiscard]] const std::vector<value>& elements(value v) const { return nodes_.at(v).elements; }

private:
    struct range {
        std::size_t at = 0, size = 0;
    };
    struct node {
        pickle_kind kind = pickle_kind::opaque;
        std::int64_t integer = 0;
        range first{}, second{};
        std::vector<value> elements{};
    };
    static constexpr value mark = std::numeric_limits<value>::max();

    [[noreturn, gnu::cold]] void broken(const char* why) const {
        throw serialization_error("joblot: a broken pickle: " + std::string(why), "a pickle", at_);
    }
    [[nodiscard]] std::string_view part(range r) const noexcept {
        return {reinterpret_cast<const char*>(bytes_.data()) + r.at, r.size};
    }

    // ---- bytes
    range take(std::uint64_t size) {
        if (size > bytes_.size() - at_) broken("it ends too early");
        const range result{at_, size};
        at_ += result.size;
        return result;
    }
    void skip(std::uint64_t size) { static_cast<void>(take(size)); }
    std::uint64_t number(std::size_t size) {
        std::uint64_t result = 0;
        const range r = take(size);
        for (std::size_t i = size; i-- > 0;) result = result << 8 | std::to_integer<std::uint64_t>(bytes_[r.at + i]);
        return result;
    }
    range line() {
        const std::size_t from = at_;
        do skip(1);
        while (bytes_[at_ - 1] != std::byte{'\n'});
        return {from, at_ - 1 - from};
    }

    // ---- the stack
    void push(node n) {
        stack_.push_back(static_cast<value>(nodes_.size()));
        nodes_.push_back(std::move(n));
    }
    value pop() {
        const value v = top();
        stack_.pop_back();
        return v;
    }
    [[nodiscard]] value top() const {
        if (stack_.empty() || stack_.back() == mark) broken("a value is missing");
        return stack_.back();
    }
    void drop() { // a value, or a mark
        if (stack_.empty()) broken("a value is missing");
        stack_.pop_back();
    }
    std::vector<value> pop_to_mark() {
        std::size_t first = stack_.size();
        while (first != 0 && stack_[first - 1] != mark) --first;
        if (first == 0) broken("a mark is missing");
        const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(first);
        std::vector<value> result(begin, stack_.end());
        stack_.erase(begin - 1, stack_.end());
        return result;
    }
    void push_integer(std::int64_t n) { push({.kind = pickle_kind::integer, .integer = n}); }
    void push_text(pickle_kind kind, range r) { push({.kind = kind, .first = r}); }
    void push_container(pickle_kind kind, std::vector<value> elements) {
        push({.kind = kind, .elements = std::move(elements)});
    }
    void push_tuple(std::size_t size) {
        std::vector<value> elements(size);
        for (std::size_t i = size; i-- > 0;) elements[i] = pop();
        push_container(pickle_kind::tuple, std::move(elements));
    }
    /// The value below, with these elements more.
    void extend(const std::vector<value>& more) {
        std::vector<value>& elements = nodes_[top()].elements;
        elements.insert(elements.end(), more.begin(), more.end());
    }
    void extend(std::size_t count) {
        std::vector<value> more(count);
        for (std::size_t i = count; i-- > 0;) more[i] = pop();
        extend(more);
    }
    void push_object(std::size_t count) {
        push_tuple(count);
        nodes_.back().kind = pickle_kind::object;
    }
    void push_long(std::uint64_t size) {
        const range r = take(size);
        if (size > 8) return push({});
        std::uint64_t bits = 0;
        for (std::size_t i = r.size; i-- > 0;) bits = bits << 8 | std::to_integer<std::uint64_t>(bytes_[r.at + i]);
        const auto unused = 64 - 8 * static_cast<int>(r.size);
        push_integer(r.size == 0 ? 0 : static_cast<std::int64_t>(bits << unused) >> unused);
    }
    void push_global() {
        const value name = pop(), module = pop();
        if (kind(name) != pickle_kind::text || kind(module) != pickle_kind::text) return push({});
        push({.kind = pickle_kind::global, .first = nodes_[module].first, .second = nodes_[name].first});
    }
    void recall(std::uint64_t index) {
        const auto found = memo_.find(index);
        if (found == memo_.end()) broken("a value that was to be remembered is missing");
        stack_.push_back(found->second);
    }

    // ---- operations
    void run() {
        for (std::size_t n = 0; n != most_operations; ++n) {
            const auto op = static_cast<std::uint8_t>(number(1));
            if (op == '.') {
                root_ = pop();
                return;
            }
            if (!scalar(op) && !container(op) && !object(op)) broken("an operation that is not known");
        }
        broken("it is too long");
    }
    bool scalar(std::uint8_t op) {
        switch (op) {
        case 'N':
            return push({.kind = pickle_kind::none}), true;
        case 0x88:
        case 0x89:
            return push({.kind = pickle_kind::boolean, .integer = op == 0x88}), true;
        case 'K':
            return push_integer(static_cast<std::int64_t>(number(1))), true;
        case 'M':
            return push_integer(static_cast<std::int64_t>(number(2))), true;
        case 'J':
            return push_integer(static_cast<std::int32_t>(number(4))), true;
        case 0x8a:
            return push_long(number(1)), true;
        case 0x8b:
            return push_long(number(4)), true;
        case 'G':
            return push_real(), true;
        case 0x8c:
            return push_text(pickle_kind::text, take(number(1))), true;
        case 'X':
            return push_text(pickle_kind::text, take(number(4))), true;
        case 0x8d:
            return push_text(pickle_kind::text, take(number(8))), true;
        case 'C':
        case 'U':
            return push_text(pickle_kind::bytes, take(number(1))), true;
        case 'B':
        case 'T':
            return push_text(pickle_kind::bytes, take(number(4))), true;
        case 0x8e:
        case 0x96:
            return push_text(pickle_kind::bytes, take(number(8))), true;
        default:
            return false;
        }
    }
    void push_real() {
        std::uint64_t bits = 0; // big-endian
        for (int i = 0; i != 8; ++i) bits = bits << 8 | number(1);
        push({.kind = pickle_kind::real, .integer = std::bit_cast<std::int64_t>(bits)});
    }
    bool container(std::uint8_t op) {
        switch (op) {
        case '(':
            return stack_.push_back(mark), true;
        case ')':
            return push_container(pickle_kind::tuple, {}), true;
        case 't':
            return push_container(pickle_kind::tuple, pop_to_mark()), true;
        case 0x85:
        case 0x86:
        case 0x87:
            return push_tuple(op - 0x84U), true;
        case ']':
        case 0x8f:
            return push_container(pickle_kind::list, {}), true;
        case 'l':
        case 0x91:
            return push_container(pickle_kind::list, pop_to_mark()), true;
        case 'a':
            return extend(1), true;
        case 'e':
        case 0x90:
        case 'u':
            return extend(pop_to_mark()), true;
        case '}':
            return push_container(pickle_kind::dict, {}), true;
        case 'd':
            return push_container(pickle_kind::dict, pop_to_mark()), true;
        case 's':
            return extend(2), true;
        default:
            return false;
        }
    }
    bool object(std::uint8_t op) {
        switch (op) {
        case 0x80: // protocol
            return skip(1), true;
        case 0x95: // frame
            return skip(8), true;
        case '0':
            return drop(), true;
        case '1':
            return static_cast<void>(pop_to_mark()), true;
        case '2':
            return stack_.push_back(top()), true;
        case 'c': {
            const range module = line(), name = line();
            return push({.kind = pickle_kind::global, .first = module, .second = name}), true;
        }
        case 0x93:
            return push_global(), true;
        case 'R':
        case 0x81:
            return push_object(2), true;
        case 0x92:
            return push_object(3), true;
        case 'o':
            return push_container(pickle_kind::object, pop_to_mark()), true;
        case 'b':
            return extend(1), true;
        case 'q':
            return remember(number(1)), true;
        case 'r':
            return remember(number(4)), true;
        case 0x94:
            return remember(memo_.size()), true;
        case 'h':
            return recall(number(1)), true;
        case 'j':
            return recall(number(4)), true;
        case 'Q': // something that only the writer knows
            static_cast<void>(pop());
            return push({}), true;
        case 0x97: // bytes that came beside the pickle
            return push({}), true;
        case 0x98:
            return true;
        default:
            return false;
        }
    }
    void remember(std::uint64_t index) { memo_[index] = top(); }

    std::vector<std::byte> bytes_;
    std::size_t at_ = 0;
    std::vector<node> nodes_;
    std::vector<value> stack_;
    std::unordered_map<std::uint64_t, value> memo_;
    value root_ = 0;
};

} // namespace joblot::dask::engine
