#!/usr/bin/env bash
# Writes to standard output what `manifests/operator.yaml` is: the chart with its defaults, for those who do without Helm.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=kind/lib.sh
source kind/lib.sh

cat <<'YAML'
# Written by kind/manifest.sh from charts/parley-operator. Apply it with
#   kubectl apply --server-side -f manifests/operator.yaml
---
apiVersion: v1
kind: Namespace
metadata:
  name: parley-system
  labels: { pod-security.kubernetes.io/enforce: restricted }
YAML
# The version only has to be one that the chart takes.
helm template parley-operator charts/parley-operator --namespace parley-system --kube-version 1.33.0
