// SPDX-License-Identifier: BSL-1.0
// The names of cereal that a user's functions may hand to joblot's archives. Declared, not included: who wrote
// functions for cereal includes cereal, and nobody else needs it. As cereal 1.2 and 1.3 declare them
// (details/helpers.hpp, types/base_class.hpp); joblot/cereal.hpp compiles both together.
#pragma once

namespace cereal {

class access;
template <class T>
class NameValuePair;
template <class T>
class SizeTag;
template <class T>
struct BinaryData;
template <class T>
class DeferredData;
template <class Base>
struct base_class;
template <class Base>
struct virtual_base_class;

namespace detail {
namespace { // as there: the number that CEREAL_CLASS_VERSION gives is one for each file
struct version_binding_tag;
}
template <class T, class Tag>
struct Version;
} // namespace detail

} // namespace cereal
