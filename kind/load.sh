#!/usr/bin/env bash
# Builds both binaries, puts them into images, and the images into the trial cluster. Run it again after every change: the
# operator is upgraded to the new image, and replaces the instances of every chat one after the other.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=kind/lib.sh
source kind/lib.sh

need_tools docker kind kubectl helm
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# PARLEY_BINARIES names a folder with finished static binaries; without it they are built here. A container runs Linux, so
# elsewhere the Dockerfiles build them.
binaries=${PARLEY_BINARIES:-}
if [[ ! $binaries && $(uname -s) == Linux ]]; then
    need_tools cargo
    say "building static binaries"
    target=$(rustc -vV | sed -n 's/^host: //p')
    cargo build --config .cargo/static.toml --release --locked \
        --package parley-service --bin parley --package parley-operator --bin parley-operator
    binaries=$(cargo metadata --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')/$target/release
fi

# image NAME FOLDER: makes the image of FOLDER/Dockerfile and prints its name. Only the last stage of it where the binary
# was built here, so that it takes seconds and needs no registry. The tag is made of the content: an image that changed
# has another name, so that whoever runs it is replaced.
image() {
    local built context=. dockerfile=$2/Dockerfile
    if [[ $binaries ]]; then
        context=$work/$1
        dockerfile=$context/Dockerfile
        mkdir -p "$context/etc/ssl/certs"
        cp "$binaries/$1" "$context/$1"
        cp /etc/ssl/certs/ca-certificates.crt "$context/etc/ssl/certs/" 2>/dev/null || : >"$context/etc/ssl/certs/ca-certificates.crt"
        sed -n '/^FROM scratch/,$p' "$2/Dockerfile" | sed 's/ --from=build / /' >"$dockerfile"
    fi
    # For one platform and nothing besides, or `kind load` may look for what is not there.
    built=$(BUILDX_NO_DEFAULT_ATTESTATIONS=1 docker build --quiet --file "$dockerfile" "$context")
    built=${built#sha256:}
    docker tag "$built" "$1:dev-${built:0:12}"
    echo "$1:dev-${built:0:12}"
}

say "making images"
chat=$(image parley service)
operator=$(image parley-operator operator)
kind load docker-image --quiet --name "$cluster" "$chat" "$operator"

say "installing the operator"
helm upgrade --install parley-operator charts/parley-operator --namespace parley-system --create-namespace \
    --set image.repository="${operator%:*}" --set image.tag="${operator#*:}" --set chatImage="$chat" --wait --timeout 180s
