#!/usr/bin/env bash
# Deletes the trial cluster and everything in it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=kind/lib.sh
source kind/lib.sh

need_tools docker kind
kind delete cluster --name "$cluster"
