#!/bin/sh
# Stands in for go in the tests of the build: says the version, and builds or gives up, as files in the current folder say.
if [ "$1" = env ]; then
    cat version
    exit
fi
if [ "$1" = list ]; then
    exit
fi
while [ "$1" != -o ]; do
    shift
done
echo half >"$2"
if [ -e fails ]; then
    echo "the compiler gave up" >&2
    exit 1
fi
echo whole >"$2"
echo once >>builds
