#!/usr/bin/env bash
# Checks that every C++ file of the work tree, new ones too, is formatted as .clang-format says.
#
#   scripts/check_format.sh          says what is wrong where; exit status 1 if anything is
#   scripts/check_format.sh --fix    formats the files in place
set -euo pipefail
cd "$(dirname "$0")/.."

formatter=${CLANG_FORMAT:-clang-format-19}
command -v "$formatter" >/dev/null || { echo "check_format.sh: $formatter is not installed" >&2; exit 2; }

case ${1-} in
--fix) arguments=(-i) ;;
'') arguments=(--dry-run -Werror) ;;
*) echo "usage: scripts/check_format.sh [--fix]" >&2; exit 2 ;;
esac

# What git knows of or would add; everything but build/ where this is no clone.
sources() {
    if git rev-parse --git-dir >/dev/null 2>&1; then
        git ls-files -z --cached --others --exclude-standard -- '*.hpp' '*.cpp'
    else
        find . -name build -prune -o \( -name '*.hpp' -o -name '*.cpp' \) -print0
    fi
}

files=()
while IFS= read -r -d '' file; do
    [ ! -f "$file" ] || files+=("$file") # git still lists what was just deleted
done < <(sources)
[ ${#files[@]} -gt 0 ] || { echo "check_format.sh: no C++ files found" >&2; exit 2; }
"$formatter" "${arguments[@]}" "${files[@]}"
echo "${#files[@]} C++ files are formatted"
