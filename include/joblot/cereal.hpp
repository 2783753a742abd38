// SPDX-License-Identifier: BSL-1.0
// For classes with functions that were written for cereal: cereal itself. joblot takes such functions wherever cereal
// is included; a class that has `template <class Archive> void serialize(Archive& archive) { archive(a, b); }` needs
// neither.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/wire/cereal_names.hpp>

#include <cereal/cereal.hpp>
