#!/bin/sh
# Work that takes longer than anybody waits, and a shell that is kept:
#   examples/long-work.sh [PYRO]
set -eu
pyro=${1:-pyro}
name=long-$$

"$pyro" workspace create debian:12 --name "$name"
trap '"$pyro" workspace delete "$name"' EXIT

# 1. Begin something long and do not wait: it goes on as job1.
"$pyro" workspace exec "$name" --wait-seconds 0 -- sh -c \
    'for part in 1 2 3; do echo "part $part"; sleep 1; done; echo "warning: part 2 was slow" >&2; exit 3'

# 2. Meanwhile the workspace is there for other things. The shell keeps its directory and its variables.
"$pyro" workspace shell open "$name"
"$pyro" workspace shell write "$name" sh1 --text 'mkdir -p notes && cd notes && SUBJECT=idea'
"$pyro" workspace shell write "$name" sh1 --text 'echo "an $SUBJECT" > first.txt; pwd'
"$pyro" workspace file search "$name" 'an (idea|plan)'

# A program that asks something is told with its question; what is typed next is the answer.
"$pyro" workspace shell write "$name" sh1 --text 'read -r -p "Keep it? [y/N] " answer && [ "$answer" = y ]'
"$pyro" workspace shell write "$name" sh1 --text y

# 3. Wait for the job; its exit status is ours. Then read what it wrote.
"$pyro" workspace job wait "$name" job1 || echo "it ended with $?"
"$pyro" workspace job logs "$name" job1 --search 'warning|error'
"$pyro" workspace job list "$name"
"$pyro" workspace shell close "$name" sh1
