#!/usr/bin/env bash
# Configures, builds and runs one consumer of joblot in a scratch folder.
#
#   tests/consumer/run.sh KIND JOBLOT_SOURCE WORK_DIR [COMPILER [GENERATOR]]
#
# KIND is installed, readme, pkgconfig, subdir, fetch, two_tu, single_include, bare, module, without_dask, dask,
# dask_pkgconfig, compiled, compiled_installed or compiled_dask. WORK_DIR is emptied first.
# Nothing is downloaded.
set -euo pipefail

kind=$1 joblot=$2 work=$3 compiler=${4:-c++} generator=${5:-Ninja}
here=$(cd "$(dirname "$0")" && pwd)
unset CXX CXXFLAGS CPPFLAGS LDFLAGS CMAKE_PREFIX_PATH CMAKE_BUILD_TYPE # the consumer's world, not the caller's
export CXX=$compiler CMAKE_GENERATOR=$generator

fail() { echo "consumer $kind: $*" >&2; exit 1; }

# Only what a package needs: whatever else a consumer came to depend on would be missed here.
copy_sources() { mkdir -p "$1" && cp -R "$joblot"/{CMakeLists.txt,LICENSE,cmake,include,modules,src} "$1"; }

# Installs joblot, with no peer or tool of its tests, and moves the result: packages are relocatable. Takes options.
install_joblot() {
    copy_sources "$work/source"
    cmake -S "$work/source" -B "$work/package" -DCMAKE_INSTALL_PREFIX="$work/first" \
        -DJOBLOT_BUILD_{TESTS,EXAMPLES,BENCH}=OFF "$@"
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

# What it needs of the headers is quiet under a warning that they would give rise to, were they not a system's.
quiet=(-Werror -Weffc++)

build_and_run() {
    cmake -S "$here/$kind" -B "$work/build" -DCMAKE_CXX_FLAGS="${quiet[*]}" "$@"
    cmake --build "$work/build"
    "$work/build/consumer"
}

# What is built there has its engine from a library.
check_no_engine() {
    local object objects
    mapfile -t objects < <(find "$work/build/CMakeFiles/consumer.dir" -name '*.o')
    [ ${#objects[@]} = 2 ] || fail "these are not the two objects of the program: ${objects[*]}"
    for object in "${objects[@]}"; do
        if nm -C "$object" | grep -E ' [TWVu] .*(run_on_processes|cluster_backend::)'; then
            fail "$object has an engine inside"
        fi
    done
}

# No file of one form is linked with one of the other, whichever of them calls init, and the linker says why.
check_no_mixture() {
    local library=$1 built=$work/build/CMakeFiles/consumer.dir file mixture said
    for file in compiled/main squares; do
        "$compiler" -std=c++20 -O0 -pthread -I"$joblot/include" -c "$here/$file.cpp" -o "$work/${file##*/}.o"
    done
    link() { "$compiler" -pthread "$@" "$library" -o "$work/program" 2>&1; }
    link "$work/main.o" "$work/squares.o" || fail "two files of headers are not linked"
    for mixture in "$built/main.cpp.o $work/squares.o" "$work/main.o $(find "$built" -name squares.cpp.o)"; do
        # shellcheck disable=SC2086 # two files
        if said=$(link $mixture); then fail "a program of both forms is linked: $mixture"; fi
        grep define_JOBLOT_COMPILED_in_all_files_or_in_none <<<"$said" || fail "the linker does not say why: $said"
    done
}

rm -rf "$work"
mkdir -p "$work"
case $kind in
installed)
    install_joblot
    build_and_run -DCMAKE_PREFIX_PATH="$work/prefix"
    ;;
readme)
    # The README's own commands, where Catch2 is not to be had.
    mkdir -p "$work/source"
    cp -R "$joblot"/{CMakeLists.txt,LICENSE,cmake,include,modules,src,examples,bench,tests} "$work/source"
    mapfile -t commands < <(sed -n 's/^\(cmake [^#]*[^# ]\) *\(#.*\)*$/\1/p' "$joblot/README.md")
    [ ${#commands[@]} = 2 ] || fail "the README does not show how joblot is configured and installed"
    read -ra configure <<<"${commands[0]}"
    [ "${commands[1]}" = 'cmake --install build --prefix "$HOME/.local"' ] || fail "not an install: ${commands[1]}"
    (cd "$work/source" && "${configure[@]}" -DCMAKE_DISABLE_FIND_PACKAGE_Catch2=ON &&
        cmake --install build --prefix "$work/prefix")
    kind=installed
    build_and_run -DCMAKE_PREFIX_PATH="$work/prefix"
    ;;
pkgconfig)
    install_joblot
    export PKG_CONFIG_PATH=$work/prefix/share/pkgconfig
    version=$(pkg-config --modversion joblot)
    read -ra flags <<<"$(pkg-config --cflags --libs joblot)"
    "$compiler" -std=c++20 "${quiet[@]}" "$here/main.cpp" "${flags[@]}" -DEXPECTED_VERSION="\"$version\"" -o "$work/consumer"
    "$work/consumer"
    copy_sources "$work/source"
    cmake -S "$work/source" -B "$work/package" -DJOBLOT_BUILD_{TESTS,EXAMPLES,BENCH}=OFF
    DESTDIR=$work/stage cmake --install "$work/package" --prefix /usr
    grep '^Cflags: -I' "$work/stage/usr/share/pkgconfig/joblot.pc" || fail "/usr/include is named as a system's folder again"
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
compiled)
    copy_sources "$work/joblot"
    build_and_run -DJOBLOT_SOURCE="$work/joblot"
    check_no_engine
    check_no_mixture "$work/build/joblot/libjoblot.a"
    ;;
compiled_installed)
    install_joblot -DJOBLOT_COMPILED=ON -DJOBLOT_DASK=OFF -DCMAKE_BUILD_TYPE=None
    kind=compiled
    build_and_run -DCMAKE_PREFIX_PATH="$work/prefix"
    check_no_engine
    if cmake -S "$here/compiled" -B "$work/dask" -DCMAKE_PREFIX_PATH="$work/prefix" -DWITH_DASK=ON >"$work/dask.log" 2>&1; then
        fail "there is no library with the cluster, and nobody says so"
    fi
    tr -s ' \n' ' ' <"$work/dask.log" | grep -qE "installed without the cluster|dask needs" ||
        fail "it does not say what is missing: $(cat "$work/dask.log")"
    ;;
compiled_dask)
    install_joblot -DJOBLOT_COMPILED=ON -DJOBLOT_DASK=ON -DCMAKE_BUILD_TYPE=None
    kind=compiled
    build_and_run -DCMAKE_PREFIX_PATH="$work/prefix" -DWITH_DASK=ON
    check_no_engine
    ;;
module)
    # A CMake that is too old for modules says so; then with one that is not, of a package and of sources.
    install_joblot
    cmake=$joblot/build/venv/bin/cmake
    [ -x "$cmake" ] || { echo "skipped: there is no $cmake"; exit 77; }
    version=$(cmake --version | sed -n 's/^cmake version //p')
    if [ "$(printf '%s\n' 3.28 "$version" | sort -V | tail -n 1)" = 3.28 ]; then
        if cmake -S "$here/module" -B "$work/old" -DCMAKE_PREFIX_PATH="$work/prefix" >"$work/old.log" 2>&1; then
            fail "the module configures with CMake $version"
        fi
        tr -s ' \n' ' ' <"$work/old.log" | grep -q "component module needs CMake 3.28 or newer" ||
            fail "CMake $version does not say why it has no module"
    fi
    copy_sources "$work/joblot"
    for way in -DCMAKE_PREFIX_PATH="$work/prefix" -DJOBLOT_SOURCE="$work/joblot"; do
        rm -rf "$work/build"
        "$cmake" -S "$here/module" -B "$work/build" "$way"
        "$cmake" --build "$work/build"
        "$work/build/consumer"
    done
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
single_include)
    mkdir "$work/joblot"
    cp "$joblot/single_include/joblot.hpp" "$work/joblot"
    "$compiler" -std=c++20 -pthread -I"$work" "$here"/{single_include/main,squares}.cpp -ldl -o "$work/consumer"
    "$work/consumer"
    ;;
bare)
    # A machine that has the compiler alone: no header of cereal, Boost or JSON can be found.
    flags=(-nostdinc)
    while read -r folder; do
        hidden=$work/headers${#flags[@]}
        mkdir "$hidden"
        find "$folder" -mindepth 1 -maxdepth 1 ! -name cereal ! -name boost ! -name nlohmann \
            -exec ln -s -t "$hidden" {} +
        flags+=(-isystem "$hidden")
    done < <("$compiler" -E -v -x c++ - </dev/null 2>&1 | sed -n '/^#include </,/^End of/s/^ //p')
    for other in cereal/cereal.hpp boost/version.hpp nlohmann/json.hpp; do
        if "$compiler" -std=c++20 "${flags[@]}" -fsyntax-only -include "$other" -x c++ - </dev/null 2>/dev/null; then
            fail "$other can be found"
        fi
    done
    "$compiler" -std=c++20 -pthread "${flags[@]}" -I"$joblot/include" "$here"/{bare/main,squares}.cpp -ldl \
        -o "$work/consumer"
    "$work/consumer"
    ;;
*)
    fail "unknown kind"
    ;;
esac

# What embedded joblot: it must not install our headers, nor run our tests.
case $kind in subdir | fetch)
    cmake --build "$work/build" >"$work/again.log" 2>&1
    if grep -q 'Re-checking globbed' "$work/again.log"; then fail "each build of the embedding project looks for files"; fi
    cmake --install "$work/build" --prefix "$work/nothing"
    [ ! -e "$work/nothing" ] || fail "the embedding project installs joblot's files: $(find "$work/nothing" -type f)"
    ctest --test-dir "$work/build" 2>&1 | grep -q 'No tests were found' || fail "the embedding project got tests"
    ;;
esac
