#!/usr/bin/env bash
# Configures, builds and runs one consumer of joblot in a scratch folder.
#
#   tests/consumer/run.sh KIND JOBLOT_SOURCE WORK_DIR [COMPILER [GENERATOR]]
#
# KIND is installed, pkgconfig, subdir, fetch, two_tu, without_dask, dask or dask_pkgconfig. WORK_DIR is emptied first.
# Nothing is downloaded.
set -euo pipefail

kind=$1 joblot=$2 work=$3 compiler=${4:-c++} generator=${5:-Ninja}
here=$(cd "$(dirname "$0")" && pwd)
unset CXX CXXFLAGS CPPFLAGS LDFLAGS CMAKE_PREFIX_PATH CMAKE_BUILD_TYPE # the consumer's world, not the caller's
export CXX=$compiler CMAKE_GENERATOR=$generator

fail() { echo "consumer $kind: $*" >&2; exit 1; }

# Only what a package needs: whatever else a consumer came to depend on would be missed here.
copy_sources() { mkdir -p "$1" && cp -R "$joblot"/{CMakeLists.txt,LICENSE,cmake,include} "$1"; }

# Installs joblot, with no peer or tool of its tests, and moves the result: packages are relocatable.
install_joblot() {
    copy_sources "$work/source"
    cmake -S "$work/source" -B "$work/package" -DCMAKE_INSTALL_PREFIX="$work/first" \
        -DJOBLOT_BUILD_{TESTS,EXAMPLES,BENCH}=OFF
    cmake --build "$work/package"
    cmake --install "$work/package"
    mv "$work/first" "$work/prefix"
    rm -r "$work/source" "$work/package" # nothing may point back
    local installed wanted
    installed=$(cd "$work/prefix/include" && find . -name '*.hpp' | sort)
    wanted=$(cd "$joblot/include" && find . -name '*.hpp' | sort)
    [ "$installed" = "$wanted" ] || fail "the installed headers differ from those in include/"
}

# A clone that FetchContent can fetch, with one commit.
make_repository() {
    copy_sources "$work/repository"
    git -C "$work/repository" init --quiet --initial-branch=main
    git -C "$work/repository" add .
    git -C "$work/repository" -c user.name=test -c user.email=test@localhost -c commit.gpgsign=false \
        commit --quiet --message "joblot"
}

build_and_run() {
    cmake -S "$here/$kind" -B "$work/build" "$@"
    cmake --build "$work/build"
    "$work/build/consumer"
}

rm -rf "$work"
mkdir -p "$work"
case $kind in
installed)
    install_joblot
    build_and_run -DCMAKE_PREFIX_PATH="$work/prefix"
    ;;
pkgconfig)
    install_joblot
    export PKG_CONFIG_PATH=$work/prefix/share/pkgconfig
    version=$(pkg-config --modversion joblot)
    read -ra flags <<<"$(pkg-config --cflags --libs joblot)"
    "$compiler" -std=c++20 "$here/main.cpp" "${flags[@]}" -DEXPECTED_VERSION="\"$version\"" -o "$work/consumer"
    "$work/consumer"
    ;;
subdir)
    copy_sources "$work/joblot"
    build_and_run -DJOBLOT_SOURCE="$work/joblot"
    ;;
dask)
    install_joblot
    build_and_run -DCMAKE_PREFIX_PATH="$work/prefix"
    ;;
dask_pkgconfig)
    install_joblot
    export PKG_CONFIG_PATH=$work/prefix/share/pkgconfig
    read -ra flags <<<"$(pkg-config --cflags --libs joblot-dask)"
    "$compiler" -std=c++20 "$here"/dask/{main,second}.cpp "${flags[@]}" -o "$work/consumer"
    "$work/consumer"
    ;;
without_dask)
    # Neither library may be looked for, or be read by the compiler, where the cluster was not asked for.
    hidden=(-DCMAKE_DISABLE_FIND_PACKAGE_{Boost,nlohmann_json,OpenSSL}=ON)
    copy_sources "$work/joblot"
    cmake -S "$work/joblot" -B "$work/auto" "${hidden[@]}" -DJOBLOT_BUILD_{TESTS,EXAMPLES,BENCH}=OFF
    if cmake -S "$work/joblot" -B "$work/on" "${hidden[@]}" -DJOBLOT_BUILD_{TESTS,EXAMPLES,BENCH}=OFF -DJOBLOT_DASK=ON \
        >"$work/on.log" 2>&1; then
        fail "JOBLOT_DASK=ON configures without Boost"
    fi
    grep -q 'libboost1.81-dev' "$work/on.log" || fail "JOBLOT_DASK=ON does not say what is missing"
    install_joblot
    build_and_run -DCMAKE_PREFIX_PATH="$work/prefix" "${hidden[@]}"
    dependencies=$("$compiler" -std=c++20 -M -I"$work/prefix/include" "$here/main.cpp")
    for library in /boost/ /nlohmann/ /openssl/; do
        [ "$dependencies" = "${dependencies#*"$library"}" ] || fail "joblot/joblot.hpp includes a header of $library"
    done
    ;;
fetch)
    make_repository
    build_and_run -DJOBLOT_REPOSITORY="file://$work/repository"
    ;;
two_tu)
    build_and_run -DJOBLOT_SOURCE="$joblot"
    ;;
*)
    fail "unknown kind"
    ;;
esac

# What embedded joblot: it must not install our headers, nor run our tests.
case $kind in subdir | fetch)
    cmake --install "$work/build" --prefix "$work/nothing"
    [ ! -e "$work/nothing" ] || fail "the embedding project installs joblot's files: $(find "$work/nothing" -type f)"
    ctest --test-dir "$work/build" 2>&1 | grep -q 'No tests were found' || fail "the embedding project got tests"
    ;;
esac
