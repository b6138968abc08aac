#!/usr/bin/env bash
# Builds both binaries, puts them into images, and the images into the trial cluster. Run it again after every change;
# the pods of the operator are replaced, and it replaces those of the chat.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=kind/lib.sh
source kind/lib.sh

need_tools docker kind kubectl cargo
target=$(rustc -vV | sed -n 's/^host: //p')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# PARLEY_BINARIES names a folder with finished static binaries; without it they are built here.
binaries=${PARLEY_BINARIES:-}
if [[ ! $binaries ]]; then
    say "building static binaries"
    cargo build --config .cargo/static.toml --release --locked \
        --package parley-service --bin parley --package parley-operator --bin parley-operator
    binaries=$(cargo metadata --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')/$target/release
fi

# image NAME FOLDER: the last stage of FOLDER/Dockerfile with the binary NAME that was built here, so that an image takes
# seconds and needs no registry.
image() {
    mkdir -p "$work/$1/etc/ssl/certs"
    cp "$binaries/$1" "$work/$1/$1"
    cp /etc/ssl/certs/ca-certificates.crt "$work/$1/etc/ssl/certs/" 2>/dev/null || : >"$work/$1/etc/ssl/certs/ca-certificates.crt"
    sed -n '/^FROM scratch/,$p' "$2/Dockerfile" | sed 's/ --from=build / /' >"$work/$1/Dockerfile"
    docker build --quiet --tag "$1:dev" "$work/$1"
}

say "making images"
image parley service
image parley-operator operator
kind load docker-image --quiet --name "$cluster" parley:dev parley-operator:dev
# The tag stays the same, so running pods do not notice by themselves.
if kubectl get deployment --namespace parley-system parley-operator >/dev/null 2>&1; then
    kubectl rollout restart --namespace parley-system deployment/parley-operator
fi
