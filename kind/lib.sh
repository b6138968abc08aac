# shellcheck shell=bash disable=SC2034 # what is unused here is used by those who source it
#
# What the scripts of this folder share. Sourced at the top of the repository.

# The name in kind/cluster.yaml; tests take one of their own.
cluster=${PARLEY_KIND_CLUSTER:-parley}

# Never whatever cluster happens to be the current one.
kubectl() { command kubectl --context "kind-$cluster" "$@"; }
helm() { command helm --kube-context "kind-$cluster" "$@"; }

say() { printf '==> %s\n' "$*" >&2; }

# Where a cluster kit lies beside the repository, it brings the tools and images; elsewhere they are upstream's own.
if [[ -x ../shared/cluster/up ]]; then
    exports=$(../shared/cluster/up)
    eval "$exports"
    # It has the images in docker, and nodes cannot pull any.
    kit=yes
fi

# need_tools NAME...: ends with what is missing and where it is to be had.
need_tools() {
    local tool missing=()
    for tool; do command -v "$tool" >/dev/null || missing+=("$tool"); done
    if ((${#missing[@]} > 0)); then
        say "missing: ${missing[*]}. They are at https://kind.sigs.k8s.io, https://kubernetes.io/docs/tasks/tools, https://helm.sh and https://docs.docker.com"
        exit 1
    fi
    if ! docker info >/dev/null 2>&1; then
        say "docker does not answer: start it"
        exit 1
    fi
}
