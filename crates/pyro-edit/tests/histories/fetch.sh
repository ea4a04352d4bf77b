#!/bin/sh
# Fetches successive versions of packages into DIRECTORY/NAME/VERSION, for `examples/histories.rs`: wheels by pip, packages by npm, crates by cargo.
# usage: fetch.sh DIRECTORY
set -eu
mkdir -p "$1"
cd "$1"

wheels() {
    name=$1; shift
    for version in "$@"; do
        [ -d "$name/$version" ] && continue
        pip download -q --no-deps --only-binary :all: -d "wheels/$name-$version" "$name==$version"
        mkdir -p "$name"
        python3 -m zipfile -e "wheels/$name-$version/"*.whl "$name/$version.part"
        rm -rf "$name/$version.part/"*.dist-info
        mv "$name/$version.part" "$name/$version"
    done
}

packs() {
    name=$1; shift
    for version in "$@"; do
        [ -d "$name/$version" ] && continue
        mkdir -p "$name/$version.part"
        archive=$(npm pack --silent "$name@$version")
        tar -xzf "$archive" -C "$name/$version.part" --strip-components=1
        mv "$name/$version.part" "$name/$version"
    done
}

crates() {
    name=$1; shift
    for version in "$@"; do
        [ -d "$name/$version" ] && continue
        mkdir -p cargo/src
        printf '[package]\nname = "fetched"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\n%s = "=%s"\n[workspace]\n' "$name" "$version" > cargo/Cargo.toml
        : > cargo/src/lib.rs
        rm -f cargo/Cargo.lock
        (cd cargo && cargo vendor -q --versioned-dirs vendor > vendor.txt)
        mkdir -p "$name"
        mv cargo/vendor/"$name"-"$version" "$name/$version"
        rm -rf cargo/vendor
    done
}

wheels click 8.0.4 8.1.3 8.1.7 8.1.8
wheels flask 2.0.3 2.2.5 2.3.3 3.0.3
wheels requests 2.27.1 2.28.2 2.31.0 2.32.3
wheels rich 12.6.0 13.3.5 13.7.1 13.9.4
wheels httpx 0.23.3 0.24.1 0.25.2 0.27.2
packs express 4.17.3 4.18.2 4.19.2 4.21.2
packs semver 7.3.8 7.5.4 7.6.3
packs axios 1.4.0 1.5.1 1.6.8 1.7.9
crates itertools 0.10.5 0.11.0 0.12.1 0.13.0
crates textwrap 0.15.2 0.16.0 0.16.1
crates memchr 2.5.0 2.6.4 2.7.1 2.7.4
