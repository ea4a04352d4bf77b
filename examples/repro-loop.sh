#!/bin/sh
# Reproduce a bug in a workspace, fix it there, prove the fix, and bring the patch home:
#   examples/repro-loop.sh [PYRO]
set -eu
pyro=${1:-pyro}
here=$(dirname "$0")
name=repro-$$

"$pyro" workspace create debian:12 --name "$name" --seed-path "$here/buggy" --label purpose=repro
trap '"$pyro" workspace delete "$name"' EXIT

# 1. Reproduce: the test must fail before anything is changed.
if "$pyro" workspace exec "$name" -- ./test.sh; then
    echo "there is nothing to fix" >&2
    exit 1
fi

# 2. Fix it inside. The files here stay as they are.
"$pyro" workspace file edit "$name" add.sh --old '$1 - $2' --new '$1 + $2'

# 3. Prove it.
"$pyro" workspace exec "$name" -- ./test.sh

# 4. Hand it over: a patch for `git apply`.
"$pyro" workspace diff "$name"
