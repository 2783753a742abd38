// SPDX-License-Identifier: BSL-1.0
// What functions named `serialize`, `save` or `load` call on their archives where they were written for other libraries
// than cereal. With these such a class compiles, as every class must; to send it is refused.
#pragma once

#include <joblot/error.hpp>

#include <cstddef>
#include <string>

namespace joblot::detail {

/// A value of any type that there never is.
struct no_value {
    template <class T>
    operator T() const {
        throw error("joblot: there is no such value");
    }
};

/// Base of our archives. Nobody can ask whether the body of a function compiles, so the names of the usual libraries
/// are there: bitsery's, those of writers of JSON, of byte streams, of Boost.Serialization.
class foreign_calls {
public:
#define JOBLOT_FOREIGN(name)                                                                                           \
    template <std::size_t... Sizes, class... Ts>                                                                       \
    no_value name(Ts&&...) {                                                                                           \
        refuse(#name);                                                                                                 \
    }
    // clang-format off
    JOBLOT_FOREIGN(value) JOBLOT_FOREIGN(value1b) JOBLOT_FOREIGN(value2b) JOBLOT_FOREIGN(value4b)
    JOBLOT_FOREIGN(value8b) JOBLOT_FOREIGN(value16b) JOBLOT_FOREIGN(text) JOBLOT_FOREIGN(text1b)
    JOBLOT_FOREIGN(text2b) JOBLOT_FOREIGN(text4b) JOBLOT_FOREIGN(container) JOBLOT_FOREIGN(container1b)
    JOBLOT_FOREIGN(container2b) JOBLOT_FOREIGN(container4b) JOBLOT_FOREIGN(container8b) JOBLOT_FOREIGN(container16b)
    JOBLOT_FOREIGN(object) JOBLOT_FOREIGN(ext) JOBLOT_FOREIGN(ext1b) JOBLOT_FOREIGN(ext2b) JOBLOT_FOREIGN(ext4b)
    JOBLOT_FOREIGN(ext8b) JOBLOT_FOREIGN(boolValue) JOBLOT_FOREIGN(adapter) JOBLOT_FOREIGN(enableBitPacking)
    JOBLOT_FOREIGN(context)
    JOBLOT_FOREIGN(StartObject) JOBLOT_FOREIGN(EndObject) JOBLOT_FOREIGN(StartArray) JOBLOT_FOREIGN(EndArray)
    JOBLOT_FOREIGN(Key) JOBLOT_FOREIGN(String) JOBLOT_FOREIGN(Int) JOBLOT_FOREIGN(Uint) JOBLOT_FOREIGN(Int64)
    JOBLOT_FOREIGN(Uint64) JOBLOT_FOREIGN(Double)
    JOBLOT_FOREIGN(begin_object) JOBLOT_FOREIGN(end_object) JOBLOT_FOREIGN(key) JOBLOT_FOREIGN(field)
    JOBLOT_FOREIGN(member) JOBLOT_FOREIGN(add) JOBLOT_FOREIGN(visit) JOBLOT_FOREIGN(io)
    JOBLOT_FOREIGN(write) JOBLOT_FOREIGN(read) JOBLOT_FOREIGN(put) JOBLOT_FOREIGN(get) JOBLOT_FOREIGN(append)
    JOBLOT_FOREIGN(pack) JOBLOT_FOREIGN(unpack)
    JOBLOT_FOREIGN(register_type) JOBLOT_FOREIGN(save_binary) JOBLOT_FOREIGN(load_binary)
    // clang-format on
#undef JOBLOT_FOREIGN

                                                                protected :
    /// The class whose functions run.
    const char* whose_functions_ = "class";

    [[noreturn, gnu::cold]] void refuse(const char* call) const {
        throw serialization_error("joblot: a " + std::string(whose_functions_) +
                                      " cannot be sent to another process: its function for archives was not written "
                                      "for cereal, as it calls `" +
                                      call + "`. Specialise joblot::travel for it",
                                  whose_functions_);
    }
};

} // namespace joblot::detail
