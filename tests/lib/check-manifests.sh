#!/usr/bin/env bash
#
# Checks the rendered chart, and the objects in the files that are given, with kubernetes-validate (every field is one that
# Kubernetes knows) and checkov (what is known to be unsafe). tests/run installs both from PyPI.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PYTHONPATH=$PWD/target/test-tools/checkers${PYTHONPATH:+:$PYTHONPATH}

# What checkov objects to and is meant so. A line here needs a reason.
skipped=(
    CKV_K8S_11 # no limit of CPU: fan-out would wait for no reason
    CKV_K8S_43 # an image by tag: whoever wants a digest names it in `image`
    CKV_K8S_15 # an image that is there is not pulled again: tags of releases do not move
    CKV_K8S_38 # the operator has a token: it talks to the API server
    CKV_K8S_40 # user 999 in Valkey's pod: the image's own
)
readonly kubernetes=1.33

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
helm template parley-operator charts/parley-operator --namespace parley-system --kube-version "$kubernetes.0" >"$work/chart.yaml"
helm template parley-operator charts/parley-operator --namespace parley-system --kube-version "$kubernetes.0" \
    --set replicas=2 --set 'watchNamespaces={one,two}' >"$work/chart-namespaced.yaml"
for file; do cp "$file" "$work/"; done

status=0
for file in "$work"/*.yaml; do
    # As both of them read it best, JSON too; and without kinds that Kubernetes itself does not have.
    python3 -c '
import sys, yaml
objects = [o for o in yaml.safe_load_all(open(sys.argv[1])) if o and o["kind"] not in ("ServiceMonitor", "CustomResourceDefinition")]
assert objects, "there is nothing to check"
yaml.safe_dump_all(objects, open(sys.argv[1], "w"))
print(sys.argv[1].rsplit("/", 1)[1], len(objects), "objects")' "$file"
    python3 -m kubernetes_validate --strict --quiet --kubernetes-version "$kubernetes" "$file" || status=1
done
python3 -m checkov.main --directory "$work" --framework kubernetes --quiet --compact --skip-download \
    --skip-check "$(IFS=,; echo "${skipped[*]}")" || status=1
exit $status
