#!/usr/bin/env bash
# From nothing to a chat in the browser: a cluster, an ingress controller, metrics, the operator, a ChatCluster. It may be
# run again at any time and does what is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=kind/lib.sh
source kind/lib.sh

readonly traefik=docker.io/library/traefik:v3.6.12
readonly metrics_server=registry.k8s.io/metrics-server/metrics-server:v0.9.0
readonly valkey=docker.io/valkey/valkey:9

need_tools docker kind kubectl helm

if ! kind get clusters 2>/dev/null | grep --quiet --line-regexp "$cluster"; then
    say "making the cluster $cluster"
    kind create cluster --name "$cluster" --config kind/cluster.yaml --wait 120s ${KIND_NODE_IMAGE:+--image "$KIND_NODE_IMAGE"}
elif ! command kubectl config get-contexts "kind-$cluster" >/dev/null 2>&1; then
    # It was made with another kubeconfig.
    kind export kubeconfig --name "$cluster"
fi
# A cluster that docker has just started again, with the machine say, takes half a minute until it answers.
answers() { kubectl get --raw /readyz --request-timeout 5s && kubectl wait --for condition=Ready node --all --timeout 60s --request-timeout 65s; }
deadline=$((SECONDS + 180))
until said=$(answers 2>&1); do
    if ((SECONDS > deadline)); then
        say "the cluster $cluster does not answer: ${said##*$'\n'}"
        say "kind/down.sh deletes it, and then this script makes it again"
        exit 1
    fi
    sleep 1
done
# Elsewhere than with the kit, nodes pull them by themselves: docker that keeps images as containerd does cannot hand over
# those of several platforms (https://github.com/kubernetes-sigs/kind/issues/3795).
if [[ ${kit:-} ]]; then
    say "loading images"
    kind load docker-image --quiet --name "$cluster" "$traefik" "$metrics_server" "$valkey"
fi

say "installing Traefik and metrics-server"
kubectl apply --filename kind/traefik.yaml --filename kind/metrics-server.yaml
kubectl rollout status --namespace traefik deployment/traefik --timeout 300s

kind/load.sh

# Tests need the rest, but not this.
if [[ ${1:-} != --without-sample ]]; then
    say "asking for a chat"
    kubectl apply --filename manifests/samples/minimal.yaml
    kubectl wait --for condition=Ready chat/demo --timeout 300s
    kubectl get chat
    say "open http://chat.localhost:8480/ in two browsers; kubectl --context kind-$cluster shows what runs"
fi
