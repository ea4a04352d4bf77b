#!/bin/sh
# Try three fixes at the same time, keep the one that works, and bring it home as a branch:
#   examples/parallel-fixes.sh [PYRO]
set -eu
pyro=${1:-pyro}
here=$(dirname "$0")
name=fixes-$$
repository=$(mktemp -d)
made=$name

# A repository of yours, with the bug in it.
cp "$here"/buggy/* "$repository"
git -C "$repository" init -q
git -C "$repository" add -A
git -C "$repository" -c user.name=you -c user.email=you@example.org commit -qm "with a bug"

"$pyro" workspace create debian:12 --name "$name" --seed-path "$repository"
trap 'for one in $made; do "$pyro" workspace delete "$one"; done; rm -rf "$repository"' EXIT

# 1. Three forks: the same files, at once, and nothing of one is seen by another.
"$pyro" workspace fork "$name" --count 3 --name "$name-try"
made="$name $name-try-1 $name-try-2 $name-try-3"

# 2. A different idea in each.
number=1
for operator in '*' '+' '/'; do
    printf '#!/bin/sh\necho $(($1 %s $2))\n' "$operator" | "$pyro" workspace file write "$name-try-$number" add.sh
    number=$((number + 1))
done

# 3. Which one passes?
"$pyro" workspace compare "$name-try-1" "$name-try-2" "$name-try-3" --check ./test.sh

# 4. Take that one's changes over, and prove it once more.
"$pyro" workspace merge "$name" "$name-try-2"
"$pyro" workspace exec "$name" -- ./test.sh

# 5. Bring it home: a commit on a branch of its own. Nothing of the workspace is run here, and the checkout is not touched.
"$pyro" workspace export "$name" --to-git "$repository" --branch fix-add
git -C "$repository" --no-pager show --stat fix-add
