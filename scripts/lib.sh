# shellcheck shell=bash
# What the scripts share: where things are, how they talk, and how they stay out of each other's way.
set -euo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
build=$root/build
# shellcheck disable=SC2034 # it is for those who source this
venv=$build/venv
log=$build/scripts.log
mkdir -p "$build"

say() { printf 'sdgen: %s\n' "$*" >&2; }

die() {
  say "$@"
  exit 1
}

# usage: prints the comment at the head of the calling script.
usage() { sed -n '2,/^[^#]/ s/^# \{0,1\}//p' "$0"; }

# wants_cuda: prints 1 where libtorch is to come with CUDA's libraries and the plugin is to be built, else 0.
wants_cuda() {
  case ${SDGEN_CUDA:-auto} in
    auto) if [[ -e /proc/driver/nvidia/version ]] || command -v nvidia-smi >/dev/null; then echo 1; else echo 0; fi ;;
    0 | 1) echo "$SDGEN_CUDA" ;;
    *) die "SDGEN_CUDA is '$SDGEN_CUDA': give 1 (with CUDA) or 0 (without)" ;;
  esac
}

# compilers: prints how many may run at once: as many as there are cores, but not more than fit into memory, for torch's
# headers take 1.5 GB each time.
compilers() {
  awk -v cores="$(nproc)" '/^MemAvailable/ { n = int($2 / 1.5e6); print n < 1 ? 1 : n < cores ? n : cores }' /proc/meminfo
}

# lock NAME: lets one process at a time past this point, until it ends; the log starts again.
lock() {
  local fd
  exec {fd}>"$build/.$1.lock"
  flock --nonblock "$fd" || {
    say "waiting for another run of scripts/$1 here"
    flock "$fd"
  }
  : >"$log"
}

# step WHAT COMMAND...: runs the command with its output in the log, and says how long it took or what went wrong.
step() {
  local what=$1 start=$SECONDS
  shift
  say "$what ..."
  printf '\n== %s\n' "$what" >>"$log"
  if ! "$@" >>"$log" 2>&1 </dev/null; then
    tail -n 40 "$log" | sed 's/^/  | /' >&2
    say "failed: $what (the whole log: $log)"
    return 1
  fi
  say "... $((SECONDS - start)) s"
}
