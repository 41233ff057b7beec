# Shared by the scripts beside it; source it, do not run it.
set -euo pipefail
caller_dir=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
KVFERRY_JOBS=${KVFERRY_JOBS:-$(nproc)}

step() { printf '==> %s\n' "$*"; }

# logged WHAT LOG COMMAND...: runs COMMAND with its output in LOG; on failure shows where it ended.
logged() {
  local what=$1 log=$2 start=$SECONDS
  shift 2
  mkdir -p "$(dirname "$log")"
  step "$what"
  if ! "$@" >"$log" 2>&1; then
    tail -n 60 "$log" >&2
    step "FAILED: $what after $((SECONDS - start)) s (all of it in $log)" >&2
    return 1
  fi
  step "$what: done in $((SECONDS - start)) s"
}

configure() {
  local preset=$1
  shift
  logged "configuring ($preset)" "build/logs/$preset-configure.log" cmake --preset "$preset" "$@"
}

build() {
  local preset=$1
  shift
  logged "building ($preset)" "build/logs/$preset-build.log" \
    cmake --build --preset "$preset" --parallel "$KVFERRY_JOBS" "$@"
}
