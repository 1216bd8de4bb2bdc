#!/bin/sh
# g++, for tests: libraries (kernels are) are optimised less, which takes half the time. As they ship kernels are compiled in kernels.test.ts
# and by the demo of .ci/run.
for word in "$@"; do
  [ "$word" = -shared ] && exec g++ "$@" -Og
done
exec g++ "$@"
