# What the scripts share. Sourced by bash; sets `tree` to the root of the source tree.
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

python=/usr/bin/python3 # Debian's, which has Debian's modules
export PYTHONDONTWRITEBYTECODE=1

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }

# as_root COMMAND… — runs it as root: directly, or through sudo.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo -- "$@"
  else die "needs root or sudo for: $*"; fi
}

# The compilers that are known to build without a warning must go on doing so; any other is not held to it.
werror() {
  [ "$(c++ -dumpversion 2>/dev/null)" = 12 ] && echo true || echo false
}

# use_ccache — lets a build that follows use ccache where it is installed, across clones of the tree.
use_ccache() {
  if [ -d /usr/lib/ccache ]; then
    export PATH=/usr/lib/ccache:$PATH CCACHE_NOHASHDIR=1 CCACHE_BASEDIR=$tree
    export CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
  fi
}

# The sources of a folder are compiled as one: headers are read once for all of them, which takes half the time of a build
# from nothing away. `meson setup` by itself compiles each alone, which suits who changes one at a time.
together=(--unity=on --unity-size=100)

# configure DIR OPTION… — meson setup, or nothing where DIR already has exactly these options. Where libraries came or
# went since, meson looks for the optional ones again, and what is compiled stays.
configure() {
  local dir=$tree/$1; shift
  set -- "$@" "${together[@]}"
  local wanted="$* CXX=${CXX:-}" libraries again=()
  libraries=$(pkg-config --list-all | sort | cksum)
  if [ -f "$dir/build.ninja" ] && [ "$(cat "$dir/.options" 2>/dev/null)" = "$wanted" ]; then
    if [ "$(cat "$dir/.libraries" 2>/dev/null)" = "$libraries" ]; then return; fi
    again=(--reconfigure)
  else
    rm -rf "$dir"
  fi
  (cd "$tree" && meson setup "${again[@]}" "$dir" "$@" >"$dir.log" 2>&1) || { cat "$dir.log" >&2; rm -f "$dir.log"; return 1; }
  rm -f "$dir.log"
  printf '%s' "$wanted" >"$dir/.options"
  printf '%s' "$libraries" >"$dir/.libraries"
}

# configure_release — build/: what users run and what is measured.
configure_release() { configure build --buildtype=release -Dwerror="$(werror)"; }

# compile DIR TARGET… — ninja with its one-line progress on a terminal, quiet but for errors elsewhere.
compile() {
  local dir=$tree/$1; shift
  if [ -t 2 ]; then ninja -C "$dir" "$@" >&2; return; fi
  ninja --quiet -k 0 -C "$dir" "$@" >"$dir/ninja.out" 2>&1 || { cat "$dir/ninja.out" >&2; return 1; }
}
