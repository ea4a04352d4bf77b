#!/bin/sh
# The whole test suite of this small project.
sum=$(./add.sh 2 3)
if [ "$sum" = 5 ]; then
    echo "ok: 2 + 3 = $sum"
else
    echo "FAILED: 2 + 3 = $sum, not 5"
    exit 1
fi
